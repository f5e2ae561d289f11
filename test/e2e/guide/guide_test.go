// SPDX-License-Identifier: Apache-2.0

package guide

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sample = "preface\n\n# Title\n\nWords with a # in them.\n\n## First ##\n\nCreate a file named `pool.yaml` with this:\n\n" +
	"```yaml\nkind: Pool\n# not a heading\n```\n\nApply it:\n\n```bash\nkubectl apply -f pool.yaml\n```\n\n" +
	"1. In a list:\n\n   ```yaml\n   kind: Pool\n   spec:\n     listed: true\n   ```\n\n" +
	"### Second\n\n````markdown\n```\nnested\n```\n````\n\n```\nno language, never closed\n"

func TestParse(t *testing.T) {
	want := []Section{
		{Title: "Title", Level: 1, Line: 3},
		{Title: "First", Level: 2, Line: 7, Blocks: []Block{
			{Language: "yaml", Text: "kind: Pool\n# not a heading\n", Line: 12, File: "pool.yaml"},
			{Language: "bash", Text: "kubectl apply -f pool.yaml\n", Line: 19},
			{Language: "yaml", Text: "kind: Pool\nspec:\n  listed: true\n", Line: 25},
		}},
		{Title: "Second", Level: 3, Line: 30, Blocks: []Block{
			{Language: "markdown", Text: "```\nnested\n```\n", Line: 33},
			{Text: "no language, never closed\n\n", Line: 39},
		}},
	}
	if diff := cmp.Diff(want, Parse(sample)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(want, Parse(strings.ReplaceAll(sample, "\n", "\r\n"))); diff != "" {
		t.Errorf("with CRLF (-want +got)\n%s", diff)
	}
}

func TestIn(t *testing.T) {
	blocks := Parse(sample)[1].In("bash")
	if len(blocks) != 1 || blocks[0].Line != 19 {
		t.Errorf("bash blocks %+v, want the one on line 19", blocks)
	}
}

func TestSpans(t *testing.T) {
	text := "Type `ls -l` here.\n\n- a list:\n  ```bash\n  echo `date`\n  ```\n| `a \\| b` | `c` |\n"
	want := []Block{{Text: "ls -l", Line: 1}, {Text: "a | b", Line: 7}, {Text: "c", Line: 7}}
	if diff := cmp.Diff(want, Spans(text)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCommands(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		want   []string
	}{
		"comments and blank lines are not commands": {
			script: "# say hello\n\necho hello\n  # indented\n",
			want:   []string{"echo hello"},
		},
		"continued lines stay together": {
			script: "kubectl wait \\\n  --for=ready \\\n  pod\nkubectl get pods",
			want:   []string{"kubectl wait \\\n  --for=ready \\\n  pod", "kubectl get pods"},
		},
		"a pipe at the end of a line continues": {
			script: "logs 2>/dev/null | \\\n  grep a |\n  head\nnext &&\n  last",
			want:   []string{"logs 2>/dev/null | \\\n  grep a |\n  head", "next &&\n  last"},
		},
		"a loop is one command, with what is in it": {
			script: "for i in {1..3}; do\n  curl -w \"%{http_code} done\\n\" http://x || echo 'not done'\n\n  # pause\n  sleep 1\ndone\nuname",
			want:   []string{"for i in {1..3}; do\n  curl -w \"%{http_code} done\\n\" http://x || echo 'not done'\n\n  # pause\n  sleep 1\ndone", "uname"},
		},
		"nested conditions": {
			script: "while read line; do if true; then\n echo for\nfi\ndone\nif ! a; then b; fi",
			want:   []string{"while read line; do if true; then\n echo for\nfi\ndone", "if ! a; then b; fi"},
		},
		"words that only look like the shell's": {
			script: "kubectl logs --for done\necho if it's\nsaid'\nls # for now",
			want:   []string{"kubectl logs --for done", "echo if it's\nsaid'", "ls # for now"},
		},
		"command substitution over a continued line": {
			script: "kubectl exec $(kubectl get pods -o jsonpath='{.items[0].metadata.name}') -- \\\n  ip addr show\n",
			want:   []string{"kubectl exec $(kubectl get pods -o jsonpath='{.items[0].metadata.name}') -- \\\n  ip addr show"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Commands(tc.script)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// A guide of one's own can be looked at: GUIDE=… go test -run Outline -v ./test/e2e/guide
func TestOutline(t *testing.T) {
	name := os.Getenv("GUIDE")
	if name == "" {
		t.Skip("SKIPPED guide: GUIDE is not set")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Parse(string(text)) {
		t.Logf("%s %s", strings.Repeat("#", s.Level), s.Title)
		for _, b := range s.Blocks {
			t.Logf("    line %d: %s %s", b.Line, b.Language, b.File)
			if b.Language == "bash" {
				for _, c := range Commands(b.Text) {
					t.Logf("        $ %s", strings.ReplaceAll(c, "\n", "\n          "))
				}
			}
		}
	}
}
