// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// completed are the lines that the program answers a shell that completes a command line, the last of them its directive.
func completed(t *testing.T, args ...string) []string {
	t.Helper()
	var out, errors bytes.Buffer
	command := newCommand(streams{in: strings.NewReader(""), out: &out, errors: &errors})
	command.SetArgs(append([]string{"__complete"}, args...))
	if err := command.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, errors.String())
	}
	var words []string
	for line := range strings.Lines(out.String()) {
		word, _, _ := strings.Cut(strings.TrimSpace(line), "\t") // and not its description
		words = append(words, word)
	}
	return words
}

// cluster is an API server that has namespaces and Services, and a kubeconfig that leads to it, whose namespace is shop.
func cluster(t *testing.T) (kubeconfig string) {
	t.Helper()
	return kubeconfigOf(t, func(w http.ResponseWriter, r *http.Request) {
		answer, found := map[string]string{
			"/api/v1/namespaces": `{"kind": "NamespaceList", "apiVersion": "v1", "items": [{"metadata": {"name": "default"}}, {"metadata": {"name": "shop"}}]}`,
			"/api/v1/namespaces/shop/services": `{"kind": "ServiceList", "apiVersion": "v1", "items": [
				{"metadata": {"name": "web"}, "spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
				{"metadata": {"name": "waits"}, "spec": {"type": "LoadBalancer"}},
				{"metadata": {"name": "inside"}, "spec": {"type": "ClusterIP"}}]}`,
		}[r.URL.Path]
		if !found {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write([]byte(answer))
	})
}

// Commands, Services, addresses, namespaces and formats are completed, and never files.
func TestWordsAreCompleted(t *testing.T) {
	kubeconfig := cluster(t)
	for name, tc := range map[string]struct{ args, want []string }{
		"a command":            {[]string{"st"}, []string{"status", ":4"}},
		"a Service or address": {[]string{"explain", ""}, []string{"web", "192.0.2.1", "waits", ":4"}},
		"nothing behind one":   {[]string{"explain", "web", ""}, []string{":4"}},
		"a namespace":          {[]string{"explain", "-n", ""}, []string{"default", "shop", ":4"}},
		"a format":             {[]string{"doctor", "-o", ""}, []string{"json", "yaml", ":4"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := completed(t, append([]string{"--kubeconfig=" + kubeconfig}, tc.args...)...)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%q (-want +got)\n%s", tc.args, diff)
			}
		})
	}
}

// kubectl calls kubectl_complete-l2 with the words behind `kubectl l2`. What docs/install.md writes into that file calls the plugin with
// them, each as it is.
func TestKubectlCompletesByTheFileOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "install.md"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^(printf .+) > ~/\.local/bin/kubectl_complete-l2$`).FindSubmatch(page)
	if line == nil {
		t.Fatal("docs/install.md does not write kubectl_complete-l2")
	}
	folder := t.TempDir()
	script, err := exec.CommandContext(t.Context(), "sh", "-c", string(line[1])).Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"kubectl_complete-l2": string(script),
		"kubectl":             "#!/bin/sh\nprintf '<%s>' \"$@\"\n", // tells how it was called
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	complete := exec.CommandContext(t.Context(), filepath.Join(folder, "kubectl_complete-l2"), "explain", "-n", "a b", "")
	complete.Env = []string{"PATH=" + folder + ":" + os.Getenv("PATH")}
	called, err := complete.Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := "<l2><__complete><explain><-n><a b><>"; string(called) != want {
		t.Errorf("it calls kubectl %s, want %s", called, want)
	}
	if help := newCommand(streams{}).Long; !strings.Contains(strings.ReplaceAll(help, "\n  ", "\n"), string(script)) {
		t.Errorf("kubectl l2 --help shows another file than docs/install.md:\n%s", help)
	}
}
