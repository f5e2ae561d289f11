// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// Everything restarts at once: the API server, and every pod of the product.
func TestRestartOfEverythingMovesNoAddress(t *testing.T) {
	b := begin(t, 4*time.Minute)
	b.apply(pool("kept", lan), advertisement("kept", "kept"))
	web := lab.Backend{Namespace: namespace, Name: "kept", Replicas: 2}
	// Made in this order, and one of them by request, they hold other addresses than a fresh start would give them.
	b.apply(service("kept-c"), service("kept-b", "metallb.io/loadBalancerIPs", "192.168.1.248"))
	b.address("kept-c")
	b.address("kept-b")
	b.apply(web.YAML(), service("kept-a"))
	b.must(b.AwaitReady(b.ctx, web))
	b.holder(b.address("kept"), lab.Anybody)
	b.address("kept-a")
	before := b.addresses()

	start := b.later(b.StartAPI)
	b.must(b.StopAPI(b.ctx))
	start()
	b.must(b.deletePods("app=metallb", "", "--grace-period=0", "--force"))
	b.must(b.AwaitCalm(b.ctx))

	b.apply(service("kept-late"))
	late := b.address("kept-late")
	for name, addr := range before {
		if addr == late {
			t.Errorf("a new Service got %s, which %s has", late, name)
		}
	}
	after := b.addresses()
	delete(after, "kept-late")
	if diff := cmp.Diff(before, after, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("addresses before and after (-before +after)\n%s", diff)
	}
	vip := after["kept"]
	b.holder(vip, lab.Anybody)
	_, err := b.Get(b.ctx, fmt.Sprintf("http://%s/", vip))
	b.must(err)
}

// addresses of all Services that have one.
func (b *bench) addresses() map[string]netip.Addr {
	b.t.Helper()
	list, err := b.API.CoreV1().Services(namespace).List(b.ctx, metav1.ListOptions{})
	b.must(err)
	all := map[string]netip.Addr{}
	for i := range list.Items {
		if addrs := lab.Addresses(&list.Items[i]); len(addrs) > 0 {
			all[list.Items[i].Name] = addrs[0]
		}
	}
	return all
}

// An API server that is away takes nothing down and moves nothing, also when it comes back (E6). API_OUTAGE is how long it is away, 10s
// unless set: longer than any session lasts.
func TestAPIServerAwayLosesAndMovesNothing(t *testing.T) {
	outage := 10 * time.Second
	if text := os.Getenv("API_OUTAGE"); text != "" {
		var err error
		if outage, err = time.ParseDuration(text); err != nil || outage <= 0 {
			t.Fatalf("API_OUTAGE=%s: want a duration, as 60s", text)
		}
	}
	b := begin(t, 3*time.Minute+outage)
	a := b.announce("orphaned")
	w := b.watch(lab.Client, a.vip)
	report := b.under(a, 0, func(l *lab.Load) {
		start := b.later(b.StartAPI)
		b.must(b.StopAPI(b.ctx))
		b.must(l.Await(b.ctx, int(outage.Seconds()*lab.Rate)))
		start()
		back := time.Now()
		b.must(b.AwaitCalm(b.ctx))
		t.Logf("calm %v after the API server was back", round(time.Since(back)))
	})
	b.lost(a, report)
	if got, want := hosts(w.Since(time.Time{})), []string{a.holder}; !slices.Equal(got, want) {
		t.Errorf("%s was answered by %v, want only by %v", a.vip, got, want)
	}
	if now := b.holder(a.vip, lab.Anybody); now != a.holder {
		t.Errorf("%s went from %s to %s, want it untouched", a.vip, a.holder, now)
	}
}
