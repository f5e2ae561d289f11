// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/guide"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// A cluster as MetalLB leaves it becomes ours by the commands of docs/migrate-from-metallb.md, and MetalLB's again: every Service keeps its
// address all the time, two hosts never answer for one, nothing that the product asks for is forbidden, and what people wrote stays. It comes
// after TestHelm and the roles' test by the name of its file: it takes the product away and brings it back.
func TestMigrateFromMetalLB(t *testing.T) {
	b := begin(t, 5*time.Minute)
	b.must(b.BuildPlugin(b.ctx))
	text, err := os.ReadFile(filepath.Join(b.Root, "docs", "migrate-from-metallb.md"))
	b.must(err)
	m := &migration{bench: b, page: &reader{t: t, sections: guide.Parse(string(text))}, files: filepath.Join(b.Root, "test", "e2e", "testdata", "metallb")}
	place, err := m.AuditEnd()
	b.must(err)
	rights, granted := m.rights(), m.granted(t)
	m.metallb()
	defined, written, services := m.uids(), m.written(), m.services()
	vips := slices.Compact(slices.SortedFunc(maps.Values(recorded), netip.Addr.Compare))
	wire := b.watch(lab.Client, vips...)
	keeps := m.keeps()

	told := m.follow("Look what will not go over")
	m.tells(told,
		`Deployment metallb-system/controller: MetalLB runs`, `DaemonSet metallb-system/speaker: MetalLB runs`,
		`ValidatingWebhookConfiguration metallb-webhook-configuration: `,
		`IPAddressPool internal: .*192\.168\.1\.201/29`,
		`BGPPeer metallb-system/tor: `, `BGPAdvertisement metallb-system/wan: `, `BFDProfile metallb-system/fast: `, `Community metallb-system/well-known: `,
		`IPAddressPool wan: no L2Advertisement is for it`,
		`(?m)^Error +controller `, `(?m)^Error +sessions `, `(?m)^Error +announcements `,
	)
	if diff := gocmp.Diff(written, m.written()); diff != "" {
		t.Errorf("doctor changed something (-before +after)\n%s", diff)
	}
	if _, err := b.Kubectl(b.ctx, "label", "ipaddresspool", "lan", "-n", lab.Namespace, "a=b"); err == nil || !strings.Contains(err.Error(), "failed calling webhook") {
		t.Errorf("MetalLB's webhook is no hindrance: %v", err)
	}
	m.follow("Delete the webhook")
	m.follow("Correct the pools")
	written["IPAddressPool/internal"].(map[string]any)["addresses"] = []any{"192.168.1.200/29"}

	gone := time.Now()
	m.follow("Replace the workloads")
	b.must(b.AwaitCalm(b.ctx))
	m.announced(wire, vips)
	m.changedHands(wire, gone, vips)
	m.kubectl("wait", "--for=delete", "servicel2status/l2-x7kq2", "-n", lab.Namespace, "--timeout=30s") // MetalLB's, of a pod that is gone
	remove := b.apply(service("newcomer"))
	if got := b.address("newcomer"); got.String() != "192.168.1.240" {
		t.Errorf("a new Service got %s, want the lowest free address, 192.168.1.240", got)
	}
	remove()
	_, err = b.Get(b.ctx, fmt.Sprintf("http://%s/", recorded["shop"]))
	b.must(err)
	m.is("when it was moved over", defined, written)

	told = m.follow("Look again")
	for _, check := range []string{"metallb-webhook", "other-load-balancers", "crds", "controller", "speakers", "sessions", "heartbeats", "pools", "announcements", "address-conflicts"} {
		m.tells(told, `(?m)^OK +`+check+` `)
	}
	for name, vip := range recorded {
		m.tells(told, `(?m)^`+regexp.QuoteMeta(vip.String())+` .*default/`+name)
	}
	m.follow("Take away what only MetalLB needed")
	if diff := gocmp.Diff(rights, m.rights()); diff != "" {
		t.Errorf("rights of the product's ServiceAccounts (-as installed +after the migration)\n%s", diff)
	}
	m.nothingForbidden(place, m.granted(t))

	gone = time.Now()
	m.follow("The way back", [2]string{`https://\S+`, filepath.Join(m.files, "installed")})
	m.answered(wire, vips)
	m.changedHands(wire, gone, vips)
	m.is("when it was moved back", defined, written)
	if diff := gocmp.Diff(services, m.services()); diff != "" {
		t.Errorf("what there is to Services beside their specs (-before +when it was moved back)\n%s", diff)
	}
	m.leftNothing()
	m.nothingForbidden(place, granted) // it has no rights any more
	keeps()
	_, err = b.Kubectl(b.ctx, "delete", "service", "internal", "-n", namespace, "--timeout=30s")
	b.must(err)
	m.page.everythingRead()
}

// migration is one that a page describes.
type migration struct {
	*bench
	page  *reader
	files string
}

// announced waits until each address is answered by the node that its Lease names.
func (m *migration) announced(wire *lab.Stream[arpwatch.Answer], vips []netip.Addr) {
	m.t.Helper()
	for _, vip := range vips {
		holder, err := m.AwaitHolder(m.ctx, vip, lab.Anybody)
		m.must(err)
		m.must(wire.Await(m.ctx, time.Now(), func(answers []arpwatch.Answer) error {
			if who := hosts(of(vip, answers)); !slices.Equal(who, []string{holder}) {
				return fmt.Errorf("%s is answered by %v, its Lease names %s", vip, who, holder)
			}
			return nil
		}))
	}
}

// answered waits until somebody answers for each address.
func (m *migration) answered(wire *lab.Stream[arpwatch.Answer], vips []netip.Addr) {
	m.t.Helper()
	m.must(wire.Await(m.ctx, time.Now(), func(answers []arpwatch.Answer) error {
		for _, vip := range vips {
			if len(of(vip, answers)) == 0 {
				return fmt.Errorf("nobody answers for %s", vip)
			}
		}
		return nil
	}))
}

// follow runs a section's commands as they stand, in the repository's folder, and returns what they print. What doctor finds is no error.
func (m *migration) follow(title string, instead ...[2]string) (told string) {
	m.t.Helper()
	for _, block := range m.page.find(title).In("bash") {
		for _, command := range guide.Commands(block.Text) {
			for _, each := range instead {
				command = regexp.MustCompile(each[0]).ReplaceAllLiteralString(command, each[1])
			}
			started := time.Now()
			text, err := m.Shell(m.ctx, m.Root, "set -o pipefail; PATH=$PWD/bin:$PATH; "+command, 0)
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || !strings.HasPrefix(command, "kubectl l2 doctor") {
				m.must(err)
			}
			m.t.Logf("%v: %s", round(time.Since(started)), command)
			told += text
		}
	}
	return told
}

func (m *migration) tells(told string, patterns ...string) {
	m.t.Helper()
	for _, want := range patterns {
		if !regexp.MustCompile(want).MatchString(told) {
			m.t.Errorf("there is no %q in\n%s", want, told)
		}
	}
}

func (m *migration) kubectl(args ...string) string {
	m.t.Helper()
	text, err := m.Kubectl(m.ctx, args...)
	m.must(err)
	return text
}

// keeps watches the Services' addresses until the returned function is called, which fails the test if one changed meanwhile.
func (m *migration) keeps() (stop func()) {
	m.t.Helper()
	w, err := m.API.CoreV1().Services(namespace).Watch(m.ctx, metav1.ListOptions{})
	m.must(err)
	m.t.Cleanup(w.Stop)
	stopping, wrong := make(chan struct{}), make(chan []string)
	go func() { wrong <- changes(w, stopping) }()
	return func() {
		m.t.Helper()
		close(stopping)
		for _, each := range <-wrong {
			m.t.Error(each)
		}
	}
}

// changes tells of each moment at which a Service had another address than the recorded one.
func changes(w watch.Interface, stopping <-chan struct{}) (wrong []string) {
	for {
		select {
		case <-stopping:
			return wrong
		case event, open := <-w.ResultChan():
			service, ok := event.Object.(*corev1.Service)
			if !open || !ok {
				return append(wrong, fmt.Sprintf("the watch of the Services ended: %v", event.Object))
			}
			want, ok := recorded[service.Name]
			if got := lab.Addresses(service); ok && !slices.Equal(got, []netip.Addr{want}) {
				wrong = append(wrong, fmt.Sprintf("%s: Service %s had %v, want %s", event.Type, service.Name, got, want))
			}
		}
	}
}

// changedHands fails the test when two hosts answered for an address at a time, longer than it takes to hand it over, and says how long nobody
// did.
func (m *migration) changedHands(wire *lab.Stream[arpwatch.Answer], since time.Time, vips []netip.Addr) {
	m.t.Helper()
	answers := wire.Since(since)
	for _, vip := range vips {
		of := of(vip, answers)
		if both := arpwatch.Both(of, pause); both.Length() > 2*asked {
			m.t.Errorf("two of %v answered for %s at a time, for %v", hosts(of), vip, round(both.Length()))
		}
		m.t.Logf("%s was answered by %v, and by nobody for %v", vip, hosts(of), round(arpwatch.Silence(of).Length()))
	}
}

// is fails the test when a CRD or the namespace was made anew, or an object is not as people wrote it.
func (m *migration) is(when string, defined map[string]string, written map[string]any) {
	m.t.Helper()
	now := m.uids()
	for name, uid := range defined {
		if now[name] != uid {
			m.t.Errorf("%s, %s was not the same object any more", when, name)
		}
	}
	if diff := gocmp.Diff(written, m.written()); diff != "" {
		m.t.Errorf("%s, objects were (-before +then)\n%s", when, diff)
	}
}

// object is as much of one as this test compares.
type object struct {
	Kind     string
	Metadata metav1.ObjectMeta
	Spec     map[string]any
}

func (o object) key() string { return o.Kind + "/" + o.Metadata.Name }

func (m *migration) objects(args ...string) []object {
	m.t.Helper()
	var list struct{ Items []object }
	m.must(json.Unmarshal([]byte(m.kubectl(append([]string{"get", "-o", "json"}, args...)...)), &list))
	return list.Items
}

// uids of MetalLB's CRDs and namespace.
func (m *migration) uids() map[string]string {
	m.t.Helper()
	found := map[string]string{}
	for _, each := range m.objects("crd,namespaces") {
		if each.Metadata.Name == lab.Namespace || strings.HasSuffix(each.Metadata.Name, ".metallb.io") {
			found[each.key()] = string(each.Metadata.UID)
		}
	}
	if len(found) < 9 {
		m.t.Fatalf("the CRDs and the namespace are only %v", found)
	}
	return found
}

// written are the specs of all that people configured.
func (m *migration) written() map[string]any {
	m.t.Helper()
	found := map[string]any{}
	for _, each := range m.objects("-n", lab.Namespace, "ipaddresspools,l2advertisements,bgppeers,bgpadvertisements,bfdprofiles,communities") {
		found[each.key()] = each.Spec
	}
	if len(found) != 9 {
		m.t.Fatalf("the configuration is %v", found)
	}
	return found
}

// services are the annotations and finalizers of the Services.
func (m *migration) services() map[string][]string {
	m.t.Helper()
	found := map[string][]string{}
	for _, each := range m.objects("-n", namespace, "services") {
		if each.Metadata.Name == "kubernetes" {
			continue
		}
		all := slices.Clone(each.Metadata.Finalizers)
		for key, value := range each.Metadata.Annotations {
			all = append(all, key+"="+value)
		}
		slices.Sort(all)
		found[each.Metadata.Name] = all
	}
	return found
}

// rights are what the roles grant that are bound to the ServiceAccounts of the product, which are MetalLB's too.
func (m *migration) rights() (all []string) {
	m.t.Helper()
	for _, each := range m.granted(m.t) {
		all = append(all, each.String())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// leftNothing fails the test when something of the product is in the way of MetalLB, or does nothing any more.
func (m *migration) leftNothing() {
	m.t.Helper()
	for _, each := range m.objects("-n", lab.Namespace, "leases,servicel2statuses,rolebindings,roles") {
		if name := each.Metadata.Name; name != "controller" && name != "pod-lister" {
			m.t.Errorf("%s is left", each.key())
		}
	}
	for _, each := range m.objects("clusterroles,clusterrolebindings,flowschemas") {
		if strings.Contains(each.Metadata.Name, "cloud-provider-l2") {
			m.t.Errorf("%s is left", each.key())
		}
	}
}
