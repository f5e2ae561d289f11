// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/guide"
)

// Every command that the documentation shows is there: in blocks of the shell all of them, in the text those of this repository. Those
// that only look are also run on a real cluster, by test/e2e.
func TestCommandsExist(t *testing.T) {
	ours := newPrograms(t)
	checked := map[string]int{}
	for _, page := range pages(t) {
		for _, shown := range commandsOf(read(t, page)) {
			for _, words := range simpleCommands(shown.text) {
				program := filepath.Base(words[0])
				if check := ours.checks()[program]; check != nil {
					checked[program]++
					for _, problem := range check(words[1:]) {
						t.Errorf("%s:%d: `%s`: %s", page, shown.line, shown.text, problem)
					}
				} else if shown.block && !slices.Contains(programsOfOthers, program) {
					t.Errorf("%s:%d: `%s`: this test does not know the program %s: correct it, or name it in programsOfOthers", page, shown.line, shown.text, program)
				}
			}
		}
	}
	for _, program := range []string{"kubectl", "l2-cloud-controller-manager", "l2-speaker", "make", "go", "docker", "cluster"} {
		if checked[program] == 0 {
			t.Errorf("there is no example of %s", program)
		}
	}
}

// Flags that the text names are there.
func TestFlagsThatAreNamedExist(t *testing.T) {
	known := flagsOfOthers()
	for _, flags := range newPrograms(t).flags {
		for name := range flags {
			known[name] = true
		}
	}
	for _, page := range pages(t) {
		for _, span := range guide.Spans(read(t, page)) {
			name, _, _ := strings.Cut(strings.TrimSpace(span.Text), "=")
			name, _, _ = strings.Cut(name, " ")
			if strings.HasPrefix(name, "--") && !known[name] {
				t.Errorf("%s:%d: no program has the flag %s", page, span.Line, name)
			}
		}
	}
}

// Flags in YAML examples are those of the program that gets them: arguments in patches, and the chart's values `flags`.
func TestFlagsInExamplesExist(t *testing.T) {
	ours := newPrograms(t)
	programs := map[string]string{"controller": "l2-cloud-controller-manager", "speaker": "l2-speaker"}
	argument, seen := regexp.MustCompile(`--[a-z][a-z-]*`), 0
	check := func(page string, line int, component, flag string) {
		seen++
		if of, known := ours.flags[programs[component]]; !known || !of[flag] && !ours.flags["common"][flag] {
			t.Errorf("%s:%d: %s has no flag %s", page, line, component, flag)
		}
	}
	type values struct{ Flags map[string]any }
	for _, page := range pages(t) {
		for _, section := range guide.Parse(read(t, page)) {
			for _, block := range section.In("yaml") {
				var example struct {
					Kind    string
					Patches []struct {
						Target struct{ Name string }
						Patch  string
					}
					Controller, Speaker values
				}
				if strings.Contains(block.Text, "\n---\n") {
					continue // several objects
				}
				if err := yaml.Unmarshal([]byte(block.Text), &example); err != nil {
					t.Fatalf("%s:%d: %v", page, block.Line, err)
				}
				for _, patch := range example.Patches {
					for _, flag := range argument.FindAllString(patch.Patch, -1) {
						check(page, block.Line, patch.Target.Name, flag)
					}
				}
				for component, given := range map[string]values{"controller": example.Controller, "speaker": example.Speaker} {
					for name := range given.Flags {
						check(page, block.Line, component, "--"+name)
					}
				}
			}
		}
	}
	if seen == 0 {
		t.Error("no example sets a flag")
	}
}

// Files of the manifests that the documentation names are there.
func TestManifestsThatAreNamedExist(t *testing.T) {
	named := regexp.MustCompile(`(?:^|\.\./|[^/\w.-])(manifests/[A-Za-z0-9_./-]*[A-Za-z0-9_])`) // and not a part of a URL
	for _, page := range pages(t) {
		for i, line := range strings.Split(read(t, page), "\n") {
			for _, path := range named.FindAllStringSubmatch(line, -1) {
				if _, err := os.Stat(filepath.Join("..", path[1])); err != nil {
					t.Errorf("%s:%d: there is no %s", page, i+1, path[1])
				}
			}
		}
	}
}

// programsOfOthers may be typed in examples, and are not looked into.
var programsOfOthers = []string{"arping", "chmod", "crane", "ctr", "curl", "eval", "exec", "grep", "helm", "install", "printf", "xargs"}

// flagsOfOthers are named in the text beside our own: Helm's, MetalLB's, and kubectl's, with which its plugins find the cluster.
func flagsOfOthers() map[string]bool {
	known := map[string]bool{"--force-conflicts": true, "--lb-class": true, "--log-level": true, "--ml-bindport": true, "--port": true}
	for name := range kubectlFlags() {
		known[name] = true
	}
	return known
}

func kubectlFlags() map[string]bool {
	set, known := pflag.NewFlagSet("kubectl", pflag.ContinueOnError), map[string]bool{"-h": true, "--help": true}
	genericclioptions.NewConfigFlags(true).AddFlags(set)
	set.VisitAll(func(flag *pflag.Flag) { known["--"+flag.Name], known["-"+flag.Shorthand] = true, true })
	return known
}

// programs are ours, and what is in this repository.
type programs struct {
	// flags of each command: docs/reference/flags.md is generated from the programs.
	flags map[string]map[string]bool
	// makefile and dockerfile are the files' content; verbs are those of the test cluster.
	makefile, dockerfile string
	verbs                []string
}

var (
	flagRow     = regexp.MustCompile("(?m)^\\| `([^`]*)` \\|")
	generated   = regexp.MustCompile(`(?s)<!-- generated: ([^\n]*) -->\n(.*?)<!-- end -->`)
	clusterVerb = regexp.MustCompile(`Use: +"([a-z-]+)`)
	clusterFlag = regexp.MustCompile(`Var\(&\w+(?:\.\w+)?, "([a-z-]+)"`)
)

func newPrograms(t *testing.T) programs {
	t.Helper()
	p := programs{flags: map[string]map[string]bool{}, makefile: read(t, "../Makefile"), dockerfile: read(t, "../Dockerfile")}
	for _, section := range generated.FindAllStringSubmatch(read(t, "reference/flags.md"), -1) {
		flags := map[string]bool{"-h": true, "--help": true}
		for _, row := range flagRow.FindAllStringSubmatch(section[2], -1) {
			for name := range strings.SplitSeq(row[1], ", ") {
				flags[name] = true
			}
		}
		p.flags[section[1]] = flags
	}
	p.flags["cluster"] = map[string]bool{}
	for _, file := range []string{"main.go", "verbs.go"} {
		text := read(t, filepath.Join("..", "test", "cluster", file))
		for _, found := range clusterVerb.FindAllStringSubmatch(text, -1) {
			p.verbs = append(p.verbs, found[1])
		}
		for _, found := range clusterFlag.FindAllStringSubmatch(text, -1) {
			p.flags["cluster"]["--"+found[1]] = true
		}
	}
	return p
}

// checks say what is wrong with the words after a program's name.
func (p programs) checks() map[string]func([]string) []string {
	return map[string]func([]string) []string{
		"kubectl": p.kubectl, "l2-cloud-controller-manager": p.component("l2-cloud-controller-manager"), "l2-speaker": p.component("l2-speaker"),
		"make": p.make, "go": p.golang, "docker": p.docker, "cluster": p.cluster,
	}
}

func (p programs) kubectl(args []string) []string {
	if len(args) > 0 && args[0] == "l2" {
		return p.command("kubectl l2", args[1:], kubectlFlags(), "completion", "__complete")
	}
	if i := slices.Index(args, "--"); i >= 0 && i+1 < len(args) && args[i+1] == "l2-speaker" {
		return p.component("l2-speaker")(args[i+2:])
	}
	return nil
}

// component checks the words after the name of the controller or of the speaker.
func (p programs) component(program string) func([]string) []string {
	return func(args []string) []string {
		if len(args) == 0 || strings.HasPrefix(args[0], "-") {
			return p.unknown(args, p.flags[program], p.flags["common"])
		}
		return p.command(program, args, nil)
	}
}

// command checks a subcommand and its flags; others are subcommands without flags of their own.
func (p programs) command(program string, args []string, more map[string]bool, others ...string) []string {
	if len(args) == 0 || slices.Contains(others, args[0]) {
		return nil
	}
	of, found := p.flags[program+" "+args[0]]
	if !found {
		return []string{fmt.Sprintf("%s has no command %s", program, args[0])}
	}
	if program != "kubectl l2" { // a subcommand does not take the program's own
		return p.unknown(args[1:], of)
	}
	return p.unknown(args[1:], of, p.flags[program], more)
}

// unknown names the flags that none of the sets has.
func (p programs) unknown(args []string, sets ...map[string]bool) (problems []string) {
	for _, arg := range args {
		name, _, _ := strings.Cut(arg, "=")
		if strings.HasPrefix(name, "-") && !slices.ContainsFunc(sets, func(set map[string]bool) bool { return set[name] }) {
			problems = append(problems, "there is no flag "+name)
		}
	}
	return problems
}

func (p programs) make(args []string) (problems []string) {
	for _, arg := range args {
		name, _, variable := strings.Cut(arg, "=")
		switch {
		case variable && !regexp.MustCompile(`\$[({]`+name+`[)}]`).MatchString(p.makefile):
			problems = append(problems, "the Makefile has no variable "+name)
		case !variable && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(name)+`:( |$)`).MatchString(p.makefile):
			problems = append(problems, "the Makefile has no target "+name)
		}
	}
	return problems
}

// golang checks that packages are there, and that the tests are which -run and -fuzz name.
func (p programs) golang(args []string) (problems []string) {
	folder, pattern, values := "..", "", []string{"-C", "-run", "-fuzz", "-tags", "-o", "-count", "-timeout"}
	var packages []string
	for i := 1; i < len(args); i++ {
		arg := args[i]
		value := ""
		if slices.Contains(values, arg) && i+1 < len(args) {
			i++
			value = args[i]
		}
		switch {
		case arg == "-C":
			folder = filepath.Join(folder, value)
		case arg == "-run" || arg == "-fuzz":
			pattern = value
		case value == "" && !strings.HasPrefix(arg, "-"):
			packages = append(packages, arg)
		}
	}
	if len(packages) == 0 {
		packages = []string{"."}
	}
	for _, each := range packages {
		files, _ := filepath.Glob(filepath.Join(folder, each, "*.go"))
		if len(files) == 0 {
			problems = append(problems, "there is no package "+each)
		}
		if pattern == "" || pattern == "NAME" {
			continue
		}
		for alternative := range strings.SplitSeq(pattern, "|") {
			if !slices.ContainsFunc(files, func(file string) bool {
				text, err := os.ReadFile(file)
				return err == nil && regexp.MustCompile(`(?m)^func \w*`+alternative).Match(text)
			}) {
				problems = append(problems, fmt.Sprintf("%s has no test %s", each, alternative))
			}
		}
	}
	return problems
}

func (p programs) docker(args []string) (problems []string) {
	for i, arg := range args[:max(0, len(args)-1)] {
		if arg == "--target" && !strings.Contains(p.dockerfile, " AS "+args[i+1]+"\n") {
			problems = append(problems, "the Dockerfile has no stage "+args[i+1])
		}
	}
	return problems
}

func (p programs) cluster(args []string) []string {
	if len(args) > 0 && !slices.Contains(p.verbs, args[0]) {
		return []string{"the test cluster has no verb " + args[0]}
	}
	return nil
}

// shown is a command line on a page.
type shown struct {
	text  string
	line  int
	block bool // it stands in a block, not in the text
}

var (
	prompt = regexp.MustCompile(`(?m)^\$ (.+)$`)
	begins = regexp.MustCompile(`^(kubectl|l2-cloud-controller-manager|l2-speaker|make|go|docker|bin/cluster|cluster) `)
)

// commandsOf are the commands of a page: those of its shell blocks, what is typed at a prompt in other blocks, and those of this
// repository in its text.
func commandsOf(text string) (all []shown) {
	for _, section := range guide.Parse(text) {
		for _, block := range section.Blocks {
			commands := guide.Commands(block.Text)
			if block.Language != "bash" {
				commands = nil
				for _, found := range prompt.FindAllStringSubmatch(block.Text, -1) {
					commands = append(commands, found[1])
				}
			}
			at := 0
			for _, command := range commands {
				at += strings.Index(block.Text[at:], command)
				all = append(all, shown{command, block.Line + strings.Count(block.Text[:at], "\n"), true})
			}
		}
	}
	for _, span := range guide.Spans(text) {
		if begins.MatchString(span.Text) {
			all = append(all, shown{text: span.Text, line: span.Line})
		}
	}
	return all
}

// simpleCommands splits a command line of a shell where one program's words end and another's begin. Comments are dropped; what stands in
// quotes is one word.
func simpleCommands(line string) (commands [][]string) {
	var words []string
	word, quoted, quote := "", false, byte(0)
	endWord := func() {
		if word != "" || quoted {
			words = append(words, word)
		}
		word, quoted = "", false
	}
	endCommand := func() {
		endWord()
		if len(words) > 0 {
			commands = append(commands, words)
		}
		words = nil
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word += string(c)
		case c == '\'' || c == '"':
			quote, quoted = c, true
		case c == '\\' && i+1 < len(line):
			i++
		case c == '#' && word == "" && !quoted:
			for i+1 < len(line) && line[i+1] != '\n' {
				i++
			}
		case strings.IndexByte("|&;()\n", c) >= 0:
			endCommand()
		case c == '>' || c == '<': // a redirection, and where to
			endWord()
			for i+1 < len(line) && line[i+1] == ' ' {
				i++
			}
			for i+1 < len(line) && strings.IndexByte(" |&;()\n", line[i+1]) < 0 {
				i++
			}
		case c == ' ' || c == '\t':
			endWord()
		default:
			word += string(c)
		}
	}
	endCommand()
	return commands
}

func TestSimpleCommands(t *testing.T) {
	for line, want := range map[string]string{
		"make build && install bin/kubectl-l2 ~/bin/  # any folder": `["make" "build"] ["install" "bin/kubectl-l2" "~/bin/"]`,
		"kubectl logs -l 'a=b c' | grep -e \"x|y\" -e z":            `["kubectl" "logs" "-l" "a=b c"] ["grep" "-e" "x|y" "-e" "z"]`,
		"printf '#!/bin/sh\\n' > ~/.local/bin/x; chmod +x y":        `["printf" "#!/bin/sh\\n"] ["chmod" "+x" "y"]`,
		"kubectl exec $(kubectl get pods -o name) -- \\\n  ls":      `["kubectl" "exec" "$"] ["kubectl" "get" "pods" "-o" "name"] ["--" "ls"]`,
		"curl http://192.168.1.240/#x  # a comment":                 `["curl" "http://192.168.1.240/#x"]`,
	} {
		if got := strings.Trim(fmt.Sprintf("%q", simpleCommands(line)), "[]"); got != strings.Trim(want, "[]") {
			t.Errorf("%s\nis  %s\nnot %s", line, got, want)
		}
	}
}

// What is not there is noticed.
func TestCommandsThatAreNotThere(t *testing.T) {
	ours := newPrograms(t)
	for _, line := range []string{
		"kubectl l2 stat", "kubectl l2 status --probes=3", "kubectl l2 doctor -A", "kubectl exec -n x ds/speaker -- l2-speaker proof", "l2-speaker status --timeout=1s",
		"l2-speaker --fail-over=fast", "l2-cloud-controller-manager clean", "l2-cloud-controller-manager cleanup --serve-classless", "l2-cloud-controller-manager --failover=fast", "make tests", "make sim SCHEDULE=3", "go test ./l2/nothing", "go test ./l2/membership -run TestNothing", "docker build --target plugin .",
		"bin/cluster cuts node-1",
	} {
		words := simpleCommands(line)[0]
		if problems := ours.checks()[filepath.Base(words[0])](words[1:]); len(problems) == 0 {
			t.Errorf("nothing is said against %s", line)
		}
	}
}
