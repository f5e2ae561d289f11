// SPDX-License-Identifier: Apache-2.0

// Package docs has no program: its tests check the documentation.
package docs

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/yaml"
	strict "sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/guide"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mention = regexp.MustCompile(`\bdocs/[a-z0-9/-]+\.md(?:#[a-z0-9-]+)?`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	fenced  = regexp.MustCompile("(?ms)^ *```([a-z]*)\n(.*?)^ *```$")
)

// Every link to a file of the repository leads somewhere, to the heading that it names.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, page := range pages(t) {
		text := fenced.ReplaceAllString(read(t, page), "")
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target := found[1]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			to := page
			if path != "" {
				to = filepath.Join(filepath.Dir(page), path)
			}
			leads(t, page, to, anchor)
		}
	}
}

// What programs, tests and manifests say about pages of the documentation is so.
func TestPagesThatAreMentionedExist(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "bin", "out", "docs"}, entry.Name()) {
			return fs.SkipDir
		}
		if entry.IsDir() || !slices.Contains([]string{".go", ".yaml", ".json", ".txt"}, filepath.Ext(path)) {
			return nil
		}
		for _, found := range mention.FindAllString(read(t, path), -1) {
			to, anchor, _ := strings.Cut(found, "#")
			leads(t, path, filepath.Join("..", to), anchor)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// leads checks one link.
func leads(t *testing.T, page, to, anchor string) {
	t.Helper()
	info, err := os.Stat(to)
	switch {
	case err != nil:
		t.Errorf("%s: there is no %s", page, to)
	case anchor == "":
	case info.IsDir() || filepath.Ext(to) != ".md":
		t.Errorf("%s: %s has no headings, such as #%s", page, to, anchor)
	case !slices.Contains(anchors(read(t, to)), anchor):
		t.Errorf("%s: %s has no heading #%s", page, to, anchor)
	}
}

// anchors are those that GitHub gives to headings.
func anchors(text string) (all []string) {
	for _, found := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		all = append(all, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, found[1]))
	}
	return all
}

// Every YAML example can be read, and has no field that its kind does not have; test/e2e applies them. Together they show every annotation
// of Services and every field of the file of --cloud-config. (Those of pools and L2Advertisements are counted in api/v1beta1.)
func TestExamplesCanBeRead(t *testing.T) {
	kinds := map[string]func() any{
		"IPAddressPool":   func() any { return new(v1beta1.IPAddressPool) },
		"L2Advertisement": func() any { return new(v1beta1.L2Advertisement) },
	}
	examples := map[string]string{}
	for _, page := range pages(t) {
		for _, section := range guide.Parse(read(t, page)) {
			for _, block := range section.In("yaml") {
				documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(block.Text)))
				for {
					document, err := documents.Read()
					if errors.Is(err, io.EOF) {
						break
					}
					var head struct{ Kind string }
					if err == nil {
						err = strict.Unmarshal(document, &head)
					}
					if into := kinds[head.Kind]; err == nil && into != nil {
						err = strict.UnmarshalStrict(document, into())
					}
					if head.Kind == provider.ConfigKind && err == nil {
						_, err = provider.ReadConfig(bytes.NewReader(document))
					}
					if err != nil {
						t.Errorf("%s:%d: %v, in\n%s", page, block.Line, err, document)
					}
					examples[head.Kind] += string(document) + "\n"
				}
			}
		}
	}
	shows := map[string][]string{"IPAddressPool": {"spec"}, "L2Advertisement": {"spec"}, "Service": nil, provider.ConfigKind: nil}
	for _, key := range translate.Annotations {
		if strings.HasPrefix(key, "metallb.io/") {
			shows["Service"] = append(shows["Service"], key)
		}
	}
	for field := range reflect.TypeFor[provider.Config]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		shows[provider.ConfigKind] = append(shows[provider.ConfigKind], name)
	}
	for kind, keys := range shows {
		for _, key := range keys {
			if !regexp.MustCompile(`(?m)^ *` + regexp.QuoteMeta(key) + `:`).MatchString(examples[kind]) {
				t.Errorf("no example of the kind %s has %s", kind, key)
			}
		}
	}
}

// A section that tells of measurements says by which command.
func TestMeasurementsNameTheirCommand(t *testing.T) {
	measured, command := regexp.MustCompile(`(?i)[^[#]\bmeasured\b`), regexp.MustCompile("(?m)(?:`|^)(?:make|go test|time|bin/cluster) [^`\n]+")
	for _, page := range pages(t) {
		text := read(t, page)
		starts := heading.FindAllStringIndex(text, -1)
		for i, start := range starts {
			section := text[start[0]:]
			if i+1 < len(starts) {
				section = text[start[0]:starts[i+1][0]]
			}
			if measured.MatchString(section) && !command.MatchString(section) {
				t.Errorf("%s: section %q tells of a measurement, and names no command", page, text[start[0]:start[1]])
			}
		}
	}
}

// The table of heartbeats is the one that package membership calculates.
func TestHeartbeatsAreTabulated(t *testing.T) {
	source := read(t, filepath.Join("..", "l2", "membership", "period_test.go"))
	_, table, found := strings.Cut(source, "const scaleTable = `")
	table, _, closed := strings.Cut(table, "`")
	if !found || !closed {
		t.Fatal("l2/membership/period_test.go has no scaleTable")
	}
	if !strings.Contains(read(t, "operate.md"), table) {
		t.Errorf("docs/operate.md does not have the table of l2/membership/period_test.go:%s", table)
	}
}

// Names that people type, alert on and grep for are all explained.
func TestNamesAreDocumented(t *testing.T) {
	reference := read(t, "reference.md")
	for _, of := range []struct{ source, names string }{
		{"l2/plan/reason.go", `Reason = "(\w+)"`},
		{"l2/election/handover.go", `(?m)^\t\w+ = "(\w+)"$`},
		{"l2/election/metrics.go", `(?m)^\tHolder\w+ = "(\w+)"$`},
		{"l2/announce/reason.go", `(?m)^\t\w+: +"(\w+)",$`},
		{"l2/membership/drop.go", `DropReason = "([a-z-]+)"`},
		{"l2/names/names.go", `"cloud-provider-l2/([a-z-]+)"`},
		{"l2/names/describe.go", `"cloud-provider-l2/([a-z-]+)"`},
		{"l2/names/conflict.go", `"cloud-provider-l2/([a-z-]+)"`},
		{"provider/events.go", `reason\w+ += "(\w+)"`},
		{"cmd/l2-speaker/observer.go", `event\w+ += "(\w+)"`},
	} {
		found := regexp.MustCompile(of.names).FindAllStringSubmatch(read(t, filepath.Join("..", of.source)), -1)
		if len(found) == 0 {
			t.Errorf("%s has no names as %s", of.source, of.names)
		}
		for _, name := range found {
			if !regexp.MustCompile("`(?:[^`]*/)?" + name[1] + "`").MatchString(reference) {
				t.Errorf("docs/reference.md says nothing of %s, which %s has", name[1], of.source)
			}
		}
	}
}

// The table of alerts has those that are shipped.
func TestAlertsAreTabulated(t *testing.T) {
	var rules struct {
		Spec struct {
			Groups []struct {
				Rules []struct {
					Alert, For string
					Labels     map[string]string
				}
			}
		}
	}
	if err := strict.Unmarshal([]byte(read(t, "../manifests/monitoring/prometheusrule.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	page, shipped := read(t, "operate.md"), 0
	for _, group := range rules.Spec.Groups {
		for _, rule := range group.Rules {
			shipped++
			wait := strings.Replace(rule.For, "m", " min", 1)
			line := regexp.MustCompile("(?m)^\\| `" + rule.Alert + "` \\| .* \\| " + wait + " ?\\| " + rule.Labels["severity"] + " \\|$")
			if !line.MatchString(page) {
				t.Errorf("docs/operate.md has no line for alert %s, for %q, severity %s", rule.Alert, rule.For, rule.Labels["severity"])
			}
		}
	}
	if lines := len(regexp.MustCompile("(?m)^\\| `(MetalLB|L2)\\w+` \\|").FindAllString(page, -1)); lines != shipped || shipped == 0 {
		t.Errorf("docs/operate.md has %d alerts, and %d are shipped", lines, shipped)
	}
}

func pages(t *testing.T) []string {
	t.Helper()
	all := []string{"../README.md", "../test/cluster/README.md"}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The rights that docs list for kubectl l2, all roles together, are those that an end-to-end test gives it.
func TestRightsOfThePluginAreThoseTested(t *testing.T) {
	rules := func(text string) (all []string) {
		for _, document := range strings.Split(text, "\n---\n") {
			var role struct {
				Kind     string
				Metadata struct{ Namespace string }
				Rules    []map[string][]string
			}
			if err := strict.Unmarshal([]byte(document), &role); err != nil {
				t.Fatal(err)
			}
			for _, rule := range role.Rules {
				line, err := strict.Marshal(rule)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, role.Kind+" "+role.Metadata.Namespace+"\n"+string(line))
			}
		}
		return all
	}
	_, tested, _ := strings.Cut(read(t, "../test/e2e/plugin_test.go"), "const pluginRights = `")
	tested, _, found := strings.Cut(tested, "`")
	if !found {
		t.Fatal("test/e2e/plugin_test.go has no pluginRights")
	}
	var listed []string
	for _, block := range fenced.FindAllStringSubmatch(read(t, "troubleshoot.md"), -1) {
		if block[1] == "yaml" {
			listed = append(listed, rules(block[2])...)
		}
	}
	given := rules(tested)
	slices.Sort(given)
	slices.Sort(listed)
	if diff := cmp.Diff(given, listed); diff != "" {
		t.Errorf("the rights in docs/troubleshoot.md are others than those tested (-tested +docs):\n%s", diff)
	}
}

// Samples of what kubectl l2 prints have lines that it does print, in their order: those of the files with which its own tests compare.
func TestSamplesAreWhatIsPrinted(t *testing.T) {
	for command, printed := range map[string]string{"status": "status.txt", "doctor": "doctor.txt"} {
		sample, seen := regexp.MustCompile("(?ms)^```\n\\$ kubectl l2 "+command+"[^\n]*\n(.*?)^```$"), 0
		for _, page := range pages(t) {
			for _, found := range sample.FindAllStringSubmatch(read(t, page), -1) {
				seen++
				rest := "\n" + read(t, filepath.Join("../cmd/kubectl-l2/testdata", printed))
				for line := range strings.Lines(found[1]) {
					_, after, ok := strings.Cut(rest, "\n"+line)
					if !ok {
						t.Errorf("%s: the sample of %s has a line that %s does not have there: %q", page, command, printed, line)
						continue
					}
					rest = "\n" + after
				}
			}
		}
		if seen == 0 {
			t.Errorf("there is no sample of kubectl l2 %s", command)
		}
	}
}
