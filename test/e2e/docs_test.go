// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/provider"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/guide"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// page is a file of the documentation.
type page struct {
	name, text string
}

// documentation is the README and all that is below docs/.
func documentation(t *testing.T) []page {
	t.Helper()
	names := []string{"README.md"}
	err := fs.WalkDir(os.DirFS(shared.Root), "docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			names = append(names, path)
		}
		return err
	})
	var pages []page
	for _, name := range names {
		text, e := os.ReadFile(filepath.Join(shared.Root, name))
		if err == nil {
			err = e
		}
		pages = append(pages, page{name, string(text)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// blocks are those of a page in a language; with a title, those of that section.
func (p page) blocks(language, title string) (all []guide.Block) {
	for _, section := range guide.Parse(p.text) {
		if title == "" || section.Title == title {
			all = append(all, section.In(language)...)
		}
	}
	return all
}

// What the documentation shows is so: each example is accepted, those of configuration.md go together, the README's first Service comes about,
// and then the commands that look can be typed.
func TestExamplesOfTheDocumentation(t *testing.T) {
	if err := shared.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := begin(t, 4*time.Minute) // Helm may have to be built
	b.must(buildHelm(b))
	e := examples{b, documentation(t), t.TempDir()}
	// What examples are for: a namespace that they name, and the kinds of the Prometheus operator.
	b.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {tier: production}}\n", prometheusOperator)
	_, err := b.Kubectl(b.ctx, "wait", "--for=condition=established", "--timeout=20s", "crd/prometheusrules.monitoring.coreos.com", "crd/servicemonitors.monitoring.coreos.com")
	b.must(err)
	e.areAccepted()
	e.goTogether()
	e.firstService()
	e.commandsThatLook()
}

// areAccepted: every YAML example is what the program takes that it is for, each field of it. Objects, what an overlay makes, and what Helm
// makes of values are applied to the API server, which judges them as ever and keeps none.
func (e examples) areAccepted() {
	misspelt := map[string]bool{}
	for _, page := range e.pages {
		for _, block := range page.blocks("yaml", "") {
			e.t.Run(fmt.Sprintf("%s:%d", page.name, block.Line), func(t *testing.T) {
				kind, err := e.accepts(block.Text)
				if err != nil {
					t.Fatalf("%s:%d: %v", page.name, block.Line, err)
				}
				if misspelt[kind] {
					return
				}
				misspelt[kind] = true
				if _, err := e.accepts("misspelt: {}\n" + block.Text); err == nil {
					t.Errorf("%s:%d: with a field that there is not it is accepted, too", page.name, block.Line)
				}
			})
		}
	}
	for _, kind := range []string{"IPAddressPool", "L2Advertisement", "Service", "ClusterRole", "Kustomization", provider.ConfigKind, helmValues} {
		if !misspelt[kind] {
			e.t.Errorf("there is no example of the kind %s", kind)
		}
	}
	if kind, err := e.accepts("apiVersion: example.com/v1\nkind: Unheard\nmetadata: {name: a}\n"); err == nil {
		e.t.Errorf("an example of the kind %s is accepted, which nothing here knows", kind)
	}
}

// examples applies examples.
type examples struct {
	*bench
	pages  []page
	folder string
}

// helmValues is what examples are called that have no kind: values of the chart.
const helmValues = "values of the chart"

// accepts says of what kind an example is, and why it is not accepted. An object of a kind that neither this test nor the API server knows is not.
func (e examples) accepts(example string) (kind string, err error) {
	var head struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal([]byte(strings.Split(example, "\n---\n")[0]), &head); err != nil {
		return "", err
	}
	switch {
	case head.Kind == "" && head.APIVersion == "":
		return helmValues, e.values(example)
	case head.Kind == "Kustomization":
		return head.Kind, e.overlay(example)
	case head.Kind == provider.ConfigKind:
		_, err := provider.ReadConfig(strings.NewReader(example))
		return head.Kind, err
	}
	return head.Kind, e.dryRun(example)
}

// dryRun has the API server judge objects, strictly, without keeping them.
func (e examples) dryRun(objects string) error {
	file := filepath.Join(e.folder, "objects.yaml")
	if err := os.WriteFile(file, []byte(objects), 0o600); err != nil {
		return err
	}
	_, err := e.Kubectl(e.ctx, "apply", "--dry-run=server", "--validate=strict", "-f", file)
	return err
}

// overlay has the objects of a kustomization judged.
func (e examples) overlay(text string) error {
	objects, err := e.built(text)
	if err != nil {
		return err
	}
	if strings.Contains(text, "newName:") && strings.Contains(objects, "image: localhost/") {
		return fmt.Errorf("its images are not all renamed")
	}
	return e.dryRun(objects)
}

// built builds a kustomization.
func (e examples) built(text string) (objects string, err error) {
	folder, err := e.laid(text)
	if err != nil {
		return "", err
	}
	return e.Kubectl(e.ctx, "kustomize", folder)
}

// laid puts a kustomization beside manifests/, into the folder that its first line names, with the file of --cloud-config beside it.
func (e examples) laid(text string) (folder string, err error) {
	name := regexp.MustCompile(`(?m)^# ([\w-]+)/kustomization\.yaml$`).FindStringSubmatch(text)
	if name == nil {
		return "", fmt.Errorf("no line of it says where it is to be, as in # my-cluster/kustomization.yaml")
	}
	folder = filepath.Join(e.folder, name[1])
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	if err := os.Symlink(filepath.Join(e.Root, "manifests"), filepath.Join(e.folder, "manifests")); err != nil && !os.IsExist(err) {
		return "", err
	}
	for file, content := range map[string]string{"kustomization.yaml": text, "config.yaml": e.shows("kind: " + provider.ConfigKind + "\n")} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			return "", err
		}
	}
	return folder, nil
}

// shows is the example with some text in it.
func (e examples) shows(text string) string {
	for _, page := range e.pages {
		for _, block := range page.blocks("yaml", "") {
			if strings.Contains(block.Text, text) {
				return block.Text
			}
		}
	}
	e.t.Fatalf("no example has %q", text)
	return ""
}

// values renders the chart, whose schema judges them, and has its objects judged.
func (e examples) values(text string) error {
	file := filepath.Join(e.folder, "values.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	objects, err := e.Shell(e.ctx, e.folder, fmt.Sprintf("%s/bin/helm template l2 %[1]s/manifests/helm/cloud-provider-l2 -n %s -f %s", e.Root, lab.Namespace, file), 0)
	if err != nil {
		return err
	}
	return e.dryRun(objects)
}

// goTogether: of the examples of configuration.md, the Service has the address that it asks for, from the pool that is for it, and is announced
// from where the L2Advertisement says.
func (e examples) goTogether() {
	i := slices.IndexFunc(e.pages, func(p page) bool { return p.name == filepath.Join("docs", "configuration.md") })
	all := []string{shopPod}
	for _, block := range e.pages[i].blocks("yaml", "") {
		all = append(all, block.Text)
	}
	remove := e.apply(all...)
	vip, err := e.AwaitAddress(e.ctx, "shop", "web")
	e.must(err)
	if want := netip.MustParseAddr("192.168.1.245"); vip != want {
		e.t.Errorf("the Service of docs/configuration.md has %s, and asks for %s", vip, want)
	}
	if node := e.holder(vip, lab.Anybody); node != "node-1" {
		e.t.Errorf("%s announces the Service of docs/configuration.md, and the L2Advertisement selects node-1", node)
	}
	remove()
}

// firstService: the README's comes about as it says.
func (e examples) firstService() {
	objects, commands := e.pages[0].blocks("yaml", "A first Service"), e.pages[0].blocks("bash", "A first Service")
	if len(objects) != 1 || len(commands) != 1 {
		e.t.Fatalf("the README's section on a first Service has %d YAML blocks and %d of commands", len(objects), len(commands))
	}
	e.apply(objects[0].Text)
	for _, line := range guide.Commands(commands[0].Text) {
		e.types(e.t, line)
	}
}

// commandsThatLook can be typed as they stand, when there is the README's first Service.
func (e examples) commandsThatLook() {
	typed := map[string]bool{}
	for _, page := range e.pages {
		for _, line := range page.looks() {
			if !typed[line] {
				typed[line] = true
				e.t.Run(page.name+": "+line, func(t *testing.T) { e.types(t, line) })
			}
		}
	}
	for _, line := range []string{
		"kubectl rollout status -n metallb-system deployment/controller --timeout=90s",
		"kubectl l2 doctor", "kubectl l2 status -A", "kubectl l2 explain web", "kubectl l2 explain 192.168.1.240",
	} {
		if !typed[line] {
			e.t.Errorf("no page shows the command %s", line)
		}
	}
}

// types does as a reader of the README does at the prompt.
func (e examples) types(t *testing.T, line string) {
	t.Helper()
	vip := netip.MustParseAddr("192.168.1.240")
	switch {
	case strings.HasPrefix(line, "kubectl create deployment web "):
		e.later(func(ctx context.Context) error {
			_, err := e.Kubectl(ctx, "delete", "deployment/web", "service/web", "-n", namespace, "--ignore-not-found")
			return err
		})
	case strings.HasPrefix(line, "curl "):
		page, err := e.Get(e.ctx, regexp.MustCompile(`http://\S+`).FindString(line))
		if err != nil || !strings.Contains(page, "nginx") {
			t.Errorf("%s: %v: %q", line, err, page)
		}
		return
	}
	said, err := e.Shell(e.ctx, t.TempDir(), fmt.Sprintf("set -o pipefail; PATH=%s/bin:$PATH; %s", e.Root, line), 0)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case strings.HasPrefix(line, "kubectl expose deployment web "):
		_, err := e.Kubectl(e.ctx, "rollout", "status", "deployment/web", "-n", namespace, "--timeout=60s")
		e.must(err)
		if got := e.address("web"); got != vip {
			t.Errorf("the Service has %s, the README says %s", got, vip)
		}
		e.holder(vip, lab.Anybody)
	case strings.HasPrefix(line, "kubectl get service web"), strings.HasPrefix(line, "kubectl get leases") && !strings.Contains(line, "=session"):
		if !strings.Contains(said, vip.String()) {
			t.Errorf("%s\ndoes not show %s:\n%s", line, vip, said)
		}
	}
	if strings.TrimSpace(said) == "" {
		t.Errorf("%s\nshows nothing", line)
	}
}

// looking is a command that changes nothing and has an end of its own.
var looking = regexp.MustCompile(`^kubectl (get|describe|logs|rollout status|l2 status|l2 doctor|l2 explain \S+|exec -n metallb-system ds/speaker -- l2-speaker (status|probe))( [^|]*(\| *grep [^|]*)?)?$`)

// looks are the commands of a page, in blocks and in the text, that only look, with what stands for a name replaced by one.
func (p page) looks() (lines []string) {
	for _, block := range p.blocks("bash", "") {
		lines = append(lines, guide.Commands(block.Text)...)
	}
	for _, span := range guide.Spans(p.text) {
		if strings.Contains(span.Text, " -") || strings.HasPrefix(span.Text, "kubectl l2 ") { // and is not only the command's name
			lines = append(lines, span.Text)
		}
	}
	for i, line := range lines {
		line, _, _ = strings.Cut(line, "  #")
		lines[i] = strings.TrimSpace(strings.NewReplacer("<node>", "node-", "SERVICE", "web", "ADDRESS", "192.168.1.240").Replace(line))
	}
	return slices.DeleteFunc(lines, func(line string) bool { return !looking.MatchString(line) || strings.Contains(line, "…") })
}

// shopPod is what the Service of the examples selects.
const shopPod = `apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: "nginx:1.25"}]
`

// prometheusOperator is as much of the Prometheus operator as its objects need to be accepted.
var prometheusOperator = func() string {
	rules, _, _ := strings.Cut(prometheusRules, "---\n")
	return rules + "---\n" + strings.NewReplacer("prometheusrule", "servicemonitor", "PrometheusRule", "ServiceMonitor").Replace(rules)
}()
