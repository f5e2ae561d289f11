// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// helmed is the product as Helm installs it.
type helmed struct {
	*bench
	program string
	service string
	vip     netip.Addr
}

// Helm takes over what kubectl has installed, upgrades it, removes it and installs it anew. The Service keeps its address through all
// of it, and nothing that the product asks for is forbidden. What is left when it is removed is what people wrote, and when its namespace
// is too, the CRDs.
func TestHelm(t *testing.T) {
	b := begin(t, 5*time.Minute)
	h := &helmed{bench: b, program: filepath.Join(b.Root, "bin", "helm"), service: "helmed"}
	b.must(buildHelm(b))
	web := lab.Backend{Namespace: namespace, Name: h.service, Replicas: 2}
	b.apply(pool(h.service, lan), advertisement(h.service, h.service))
	// Not the first one of the pool, which it would get again anyhow.
	b.apply(service("helmed-first"))
	b.address("helmed-first")
	b.apply(web.YAML())
	h.vip = b.address(h.service)
	b.must(b.AwaitReady(b.ctx, web))
	restore := b.later(b.ApplyProduct) // before the Services go, which needs a controller

	place, err := h.AuditEnd()
	b.must(err)
	started := time.Now()
	h.helm("install", "--take-ownership", "--force-conflicts")
	h.serves("was taken over")

	// kubectl owns the fields that have not changed yet.
	h.helm("upgrade", "--force-conflicts", "--set", "controller.replicas=2", "--set", "speaker.flags.leave-within=5s")
	h.serves("was upgraded")
	if args := h.kubectl("get", "daemonset/speaker", "-n", lab.Namespace, "-o", "jsonpath={.spec.template.spec.containers[0].args}"); !strings.Contains(args, "--leave-within=5s") {
		t.Errorf("after the upgrade the speaker's arguments are %s", args)
	}

	h.uninstallWithRights()
	h.keepsAddress("was uninstalled")
	h.leftPools()

	h.helm("install", "--set", "speaker.flags.leave-within=5s") // ends sooner
	h.serves("was installed anew")
	h.nothingForbidden(place, h.granted(t))

	h.uninstall()
	h.kubectl("delete", "namespace", lab.Namespace, "--timeout=60s")
	h.keepsAddress("was removed with its namespace")
	want := []string{
		"apiservice.apiregistration.k8s.io/v1beta1.metallb.io", // the API server's, for as long as there are the CRDs
		"customresourcedefinition.apiextensions.k8s.io/ipaddresspools.metallb.io",
		"customresourcedefinition.apiextensions.k8s.io/l2advertisements.metallb.io",
		"customresourcedefinition.apiextensions.k8s.io/servicel2statuses.metallb.io",
	}
	if diff := cmp.Diff(want, h.traces()); diff != "" {
		t.Errorf("left in the cluster (-want +got)\n%s", diff)
	}
	t.Logf("all of it took %v", time.Since(started).Round(time.Second))
	restore()
	h.nothingForbidden(place, h.granted(t))
}

// buildHelm builds Helm from its Go module, of the version that manifests/build names.
func buildHelm(b *bench) error {
	command := exec.CommandContext(b.ctx, "go", "build", "-C", filepath.Join(b.Root, "manifests", "build"),
		"-o", filepath.Join(b.Root, "bin", "helm"), "helm.sh/helm/v4/cmd/helm")
	if text, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, text)
	}
	return nil
}

// helm installs or upgrades the release, and waits until its pods are ready.
func (h *helmed) helm(verb string, flags ...string) {
	h.t.Helper()
	chart := filepath.Join(h.Root, "manifests", "helm", "cloud-provider-l2")
	h.run(append([]string{verb, "l2", chart, "--wait", "--timeout=2m"}, flags...)...)
	h.must(h.AwaitCalm(h.ctx))
}

func (h *helmed) uninstall() {
	h.t.Helper()
	h.run("uninstall", "l2", "--wait", "--timeout=1m")
}

func (h *helmed) run(args ...string) string {
	h.t.Helper()
	start := time.Now()
	line := strings.Join(append([]string{h.program, "-n", lab.Namespace}, args...), " ")
	text, err := h.Shell(h.ctx, h.t.TempDir(), line, 0)
	h.must(err)
	h.t.Logf("helm %s: %v", args[0], round(time.Since(start)))
	return text
}

func (h *helmed) kubectl(args ...string) string {
	h.t.Helper()
	text, err := h.Kubectl(h.ctx, args...)
	h.must(err)
	return text
}

// keepsAddress fails the test when the Service has another address than at first, or none.
func (h *helmed) keepsAddress(after string) {
	h.t.Helper()
	if now := h.addresses()[h.service]; now != h.vip {
		h.t.Errorf("when the product %s, the Service had %v, before %v", after, now, h.vip)
	}
}

// serves fails the test when the Service has lost its address, or is not served at it.
func (h *helmed) serves(after string) {
	h.t.Helper()
	h.keepsAddress(after)
	h.holder(h.vip, lab.Anybody)
	_, err := h.Get(h.ctx, fmt.Sprintf("http://%s/", h.vip))
	h.must(err)
}

// leftPools fails the test unless all that is left in the product's namespace is what people wrote there.
func (h *helmed) leftPools() {
	h.t.Helper()
	kinds := strings.Fields(h.kubectl("api-resources", "--namespaced=true", "--verbs=list", "-o", "name"))
	kinds = slices.DeleteFunc(kinds, func(kind string) bool { return strings.HasPrefix(kind, "events") })
	var all struct {
		Items []struct {
			Kind     string
			Metadata metav1.ObjectMeta
		}
	}
	h.must(json.Unmarshal([]byte(h.kubectl("get", strings.Join(kinds, ","), "-n", lab.Namespace, "-o", "json")), &all))
	var pools int
	for _, each := range all.Items {
		name := each.Kind + "/" + each.Metadata.Name
		switch {
		case each.Kind == "IPAddressPool":
			pools++
		case each.Kind == "L2Advertisement":
		case slices.Contains([]string{"ConfigMap/kube-root-ca.crt", "ServiceAccount/default"}, name): // of every namespace
		case len(each.Metadata.OwnerReferences) > 0 && each.Kind != "Lease" && each.Kind != "ServiceL2Status": // goes by itself
		default:
			h.t.Errorf("%s is left in the namespace", name)
		}
	}
	if pools == 0 {
		h.t.Error("no pool is left in the namespace")
	}
}

// uninstallWithRights uninstalls the release, and fails the test unless the Job that cleans up afterwards used just what its role grants.
func (h *helmed) uninstallWithRights() {
	h.t.Helper()
	var granted []lab.Grant
	for _, hook := range strings.Split(h.run("get", "hooks", "l2"), "\n---\n") {
		var role rbacv1.Role
		h.must(yaml.Unmarshal([]byte(hook), &role))
		for _, rule := range role.Rules {
			granted = append(granted, lab.Grants("cleanup", role.Namespace, rule)...)
		}
	}
	if len(granted) == 0 {
		h.t.Fatal("no hook of the chart is a role")
	}
	place, err := h.AuditEnd()
	h.must(err)
	h.uninstall()
	requests, err := h.AuditSince(place)
	h.must(err)
	requests = slices.DeleteFunc(requests, func(r lab.Request) bool { return r.Account != "cleanup" })
	for _, complaint := range append(lab.Forbidden(granted, requests), lab.Excess(granted, requests)...) {
		h.t.Error(complaint)
	}
}

// traces are all objects outside of namespaces that have the product's name, or MetalLB's, in theirs.
func (h *helmed) traces() []string {
	h.t.Helper()
	kinds := strings.Fields(h.kubectl("api-resources", "--namespaced=false", "--verbs=list", "-o", "name"))
	var found []string
	for _, name := range strings.Fields(h.kubectl("get", strings.Join(kinds, ","), "-o", "name")) {
		_, object, _ := strings.Cut(name, "/")
		if strings.Contains(object, "metallb") || strings.Contains(object, "cloud-provider-l2") {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}
