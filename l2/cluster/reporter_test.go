// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// report runs a Reporter, and returns how to see what it has told since the last look, after some seconds.
func (r *rig) report() func(seconds int) []string {
	r.t.Helper()
	refused := make(chan Refusal, 1000)
	services := informers.NewSharedInformerFactory(r.kube, 0).Core().V1().Services().Informer()
	go services.RunWithContext(r.ctx)
	reporter, err := NewReporter(r.kube, r.custom, ourNamespace, Selection{ServeClassless: true}, services, func(refusal Refusal) { refused <- refusal }, r.takeCoverage)
	r.must(err)
	if publish := reporter.watcher.publish; r.planned != nil {
		reporter.watcher.publish = func(vips map[netip.Addr]plan.VIP) { r.planned.Add(1); publish(vips) }
	}
	go func() {
		if err := reporter.Run(r.ctx); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}()
	return func(seconds int) (texts []string) {
		time.Sleep(time.Duration(seconds) * time.Second) // virtual
		synctest.Wait()
		for len(refused) > 0 {
			refusal := <-refused
			text := ""
			for _, service := range refusal.Services {
				text += fmt.Sprintf("%s/%s %s: ", service.Namespace, service.Name, service.UID)
			}
			texts = append(texts, text+refusal.Message)
		}
		return texts
	}
}

// keepSession renews the session of a node every second, until stopped.
func (r *rig) keepSession(node string) (stop func()) {
	ended := make(chan struct{})
	go func() {
		renewed := time.Unix(1000, 0)
		for {
			lease := sessionOf(node, node+"/x", renewed)
			r.writeSession(lease)
			renewed = renewed.Add(time.Second)
			select {
			case <-ended:
				return
			case <-r.ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	}()
	return func() { close(ended) }
}

const service = "default/web 5f0f3a3c-0000-4000-8000-web: "

// A VIP that nobody may announce is told once, on its Services, with what to do; one that is announced soon is not.
func TestNotAnnounced(t *testing.T) {
	inRig(t, func(r *rig) {
		r.createPool("192.168.1.0/24")
		r.createNode("node-0")
		stop := r.keepSession("node-0")
		told := r.report()
		want := func(what string, seconds int, texts ...string) {
			t.Helper()
			if diff := cmp.Diff(texts, told(seconds)); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		want("nothing to announce", 20)
		r.createService("web", "192.168.1.240")
		r.createSlice("web", 3)
		want("not yet settled", 4)
		r.createAdvertisement(v1beta1.L2AdvertisementSpec{})
		want("advertised in time", 60)

		r.must(r.custom.L2Advertisements(ourNamespace).Delete(r.ctx, "ad", metav1.DeleteOptions{}))
		want("no advertisement", 60, service+"no node may announce 192.168.1.240: NoAdvertisement: no L2Advertisement covers it: create one for its pool, or one whose serviceSelectors match")
		r.createAdvertisement(v1beta1.L2AdvertisementSpec{Interfaces: []string{"eth9"}})
		want("no such interface", 60, service+"no node may announce 192.168.1.240: NoSuchInterface on node-0 (the node has none of the interfaces that the L2Advertisements name: check their spelling, and that they are up)")
		r.must(r.custom.L2Advertisements(ourNamespace).Delete(r.ctx, "ad", metav1.DeleteOptions{}))
		r.createAdvertisement(v1beta1.L2AdvertisementSpec{NodeSelectors: []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "x", Operator: "Like"}}}}})
		want("a selector that cannot be read", 60, service+`no node may announce 192.168.1.240: InvalidSelector: an L2Advertisement has a selector that cannot be read: correct it; `+
			`L2Advertisement metallb-system/ad: spec.nodeSelectors[0]: "Like" is not a valid label selector operator: correct it`)
		r.must(r.custom.L2Advertisements(ourNamespace).Delete(r.ctx, "ad", metav1.DeleteOptions{}))
		r.createAdvertisement(v1beta1.L2AdvertisementSpec{})
		want("advertised", 60)

		stop()
		want("the only speaker died: peers might end its session", 12)
		want("and nobody did", 10, service+"no node may announce 192.168.1.240: NoSpeaker on node-0 (no speaker runs on the node: check the DaemonSet speaker)")
	})
}

// The controller, which has addresses to give, plans no more than once a second, however much changes.
func TestReporterRestsBetweenPlans(t *testing.T) {
	inRig(t, func(r *rig) {
		r.planned = &atomic.Int32{}
		r.createPool("192.168.1.0/24")
		r.createNode("node-0")
		told := r.report()
		r.keepSession("node-0")
		told(5)
		before := r.planned.Load()
		const seconds = 10
		for n := range 20 * seconds {
			r.createService(fmt.Sprintf("service-%d", n), fmt.Sprintf("192.168.1.%d", n+1))
			time.Sleep(time.Second / 20) // virtual
		}
		if plans := time.Duration(r.planned.Load() - before); plans < seconds-1 || plans > seconds*time.Second/reportRest+1 {
			t.Errorf("%d plans in %d s of changes, want one every %v", plans, seconds, reportRest)
		}
	})
}

func (r *rig) takeCoverage(found map[types.UID]plan.Coverage) {
	if r.covered != nil {
		r.covered <- found
	}
}

// What L2Advertisements match is told after each plan, by the generation that it is of. What Services there are has no part in it.
func TestReporterTellsCoverage(t *testing.T) {
	inRig(t, func(r *rig) {
		r.covered = make(chan map[types.UID]plan.Coverage, 1000)
		r.createNode("node-0")
		told := r.report()
		defer r.keepSession("node-0")()
		want := func(what string, reasons ...plan.FaultReason) {
			t.Helper()
			told(3)
			var last map[types.UID]plan.Coverage
			for len(r.covered) > 0 {
				last = <-r.covered
			}
			if len(last) != 1 {
				t.Fatalf("%s: coverage of %d L2Advertisements", what, len(last))
			}
			for _, coverage := range last {
				var got []plan.FaultReason
				for _, fault := range coverage.Faults {
					got = append(got, fault.Reason)
				}
				if diff := cmp.Diff(reasons, got); diff != "" {
					t.Errorf("%s: faults (-want +got):\n%s", what, diff)
				}
			}
		}
		r.createAdvertisement(v1beta1.L2AdvertisementSpec{ServiceSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}})
		want("no pool", plan.SelectsNothing, plan.NoService)
		r.createPool("192.168.1.0/24")
		want("a pool, and no Service", plan.NoService)
	})
}
