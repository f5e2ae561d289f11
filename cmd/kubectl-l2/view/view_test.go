// SPDX-License-Identifier: Apache-2.0

package view

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	test "github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot/snapshottest"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

func all(*corev1.Service) bool { return true }

// Status tells of each VIP who holds it, of each pool how it is used, and of each speaker whom it hears.
func TestStatus(t *testing.T) {
	s := test.Healthy()
	s.Services = append(s.Services, test.Service("late"))
	s.Pools[0].Spec.Addresses = []string{test.VIP + "/32"}
	took := test.Begin.Add(30 * time.Minute)
	hears, takes := 2, true
	status := StatusOf(s, all)
	want := []VIP{{
		Address: netip.MustParseAddr(test.VIP), Services: []string{"default/web"}, Pool: "lan", Node: "node-2", Interfaces: []string{"eth0"}, MACs: []string{test.MAC(2)},
		Since: &took, Moves: 1, Candidates: status.VIPs[0].Candidates,
	}}
	if diff := cmp.Diff(want, status.VIPs, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("VIPs (-want +got):\n%s", diff)
	}
	if candidates := status.VIPs[0].Candidates; len(candidates) != 3 || candidates[0] != "node-2" {
		t.Errorf("candidates %v: the holder is to be the first of three", candidates)
	}
	if diff := cmp.Diff([]Waiting{{Service: "default/late", Reason: "no free IPv4 address in pool lan: 1 of 1 in use"}}, status.Waiting); diff != "" {
		t.Errorf("waiting (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]Pool{{Name: "lan", AutoAssign: true, TotalIPv4: 1, InUseIPv4: 1, Advertised: true}}, status.Pools); diff != "" {
		t.Errorf("pools (-want +got):\n%s", diff)
	}
	if len(status.Speakers) != 3 {
		t.Fatalf("%d speakers", len(status.Speakers))
	}
	wantSpeaker := Speaker{
		Node: "node-2", Pod: "speaker-node-2", Session: "node-2/e", Since: &test.Begin, VIPs: 1, Hears: &hears, Others: 2, Takes: &takes, Interfaces: []string{"eth0"},
	}
	if diff := cmp.Diff(wantSpeaker, status.Speakers[1]); diff != "" {
		t.Errorf("speaker (-want +got):\n%s", diff)
	}
}

// Services that were not asked for are counted, and not shown.
func TestStatusIsFiltered(t *testing.T) {
	s := test.Healthy()
	status := StatusOf(s, func(service *corev1.Service) bool { return service.Name != "web" })
	if len(status.VIPs) != 0 || status.Hidden != 1 || len(status.Pools) != 1 {
		t.Errorf("%d VIPs, %d hidden, %d pools", len(status.VIPs), status.Hidden, len(status.Pools))
	}
}

// What could not be read is never told as something that is not there.
func TestStatusOfWhatCannotBeRead(t *testing.T) {
	for _, what := range []string{snapshot.Pools, snapshot.Advertisements, snapshot.Nodes, snapshot.Leases, snapshot.EndpointSlices} {
		t.Run(what, func(t *testing.T) {
			s := test.Healthy()
			s.Services = append(s.Services, test.Service("late"))
			s.Unread = []snapshot.Unread{{What: what, Why: "forbidden"}}
			switch what {
			case snapshot.Pools:
				s.Pools = nil
			case snapshot.Advertisements:
				s.Advertisements = nil
			case snapshot.Nodes:
				s.Nodes = nil
			case snapshot.Leases:
				s.Leases = nil
			case snapshot.EndpointSlices:
				s.EndpointSlices = nil
			}
			status := StatusOf(s, all)
			for _, vip := range status.VIPs {
				if vip.Node == "" && vip.Reason != ReasonUnknown {
					t.Errorf("%s: %s %s", vip.Address, vip.Reason, vip.Message)
				}
			}
			for _, speaker := range status.Speakers {
				if speaker.Problem != "" {
					t.Errorf("%s: %s", speaker.Node, speaker.Problem)
				}
			}
			if what == snapshot.Pools && len(status.Waiting) > 0 {
				t.Errorf("waiting: %v", status.Waiting)
			}
		})
	}
}

// poolsInShort writes what each pool is to a Service.
func poolsInShort(pools []PoolVerdict) (texts []string) {
	for _, pool := range pools {
		text := fmt.Sprintf("%s: tried %t, chosen %t, gives %v", pool.Name, pool.Tried, pool.Chosen, pool.Gives)
		if pool.Reason != "" {
			text += ", " + pool.Reason
		}
		texts = append(texts, text)
	}
	return texts
}

// Pools are told in the order in which they are tried, each with the allocator's own answer.
func TestExplainPools(t *testing.T) {
	off := false
	reserved := func(pool *v1beta1.IPAddressPool, priority int32, namespaces ...string) *v1beta1.IPAddressPool {
		pool.Spec.AllocateTo = &v1beta1.ServiceAllocation{Priority: priority, Namespaces: namespaces}
		return pool
	}
	for _, tc := range []struct {
		name    string
		prepare func(*snapshot.Snapshot, *corev1.Service)
		pools   []string
		refused string
	}{
		{"the first that has an address", func(s *snapshot.Snapshot, _ *corev1.Service) {
			s.Pools = append(s.Pools, test.Pool("more", 1, "192.168.1.250/32"))
		}, []string{"lan: tried true, chosen true, gives [192.168.1.241]", "more: tried true, chosen false, gives [192.168.1.250]"}, ""},
		{"reserved ones first", func(s *snapshot.Snapshot, _ *corev1.Service) {
			s.Pools = append(s.Pools, reserved(test.Pool("theirs", 1, "192.168.1.250/32"), 1, "shop"), reserved(test.Pool("ours", 1, "192.168.1.251/32"), 2, "default"))
		}, []string{
			"theirs: tried true, chosen false, gives [], pool theirs is reserved for other Services: see its serviceAllocation",
			"ours: tried true, chosen true, gives [192.168.1.251]",
			"lan: tried true, chosen false, gives [192.168.1.241]",
		}, ""},
		{"not assigned automatically", func(s *snapshot.Snapshot, _ *corev1.Service) { s.Pools[0].Spec.AutoAssign = &off }, []string{
			"lan: tried false, chosen false, gives [], autoAssign is off, and the Service does not ask for it by name",
		}, "no pool serves this Service by itself: autoAssign is off; ask for pool lan by name"},
		{"asked for by name", func(s *snapshot.Snapshot, service *corev1.Service) {
			s.Pools = append(s.Pools, test.Pool("more", 1, "192.168.1.250/32"))
			service.Annotations = map[string]string{"metallb.io/address-pool": "more"}
		}, []string{"lan: tried false, chosen false, gives [], the Service asks for pool more by name", "more: tried true, chosen true, gives [192.168.1.250]"}, ""},
		{"an address that another has", func(_ *snapshot.Snapshot, service *corev1.Service) {
			service.Annotations = map[string]string{"metallb.io/loadBalancerIPs": test.VIP}
		}, []string{"lan: tried true, chosen false, gives [], 192.168.1.240 is in use by default/web"}, "192.168.1.240 is in use by default/web"},
		{"an address in conflict", func(s *snapshot.Snapshot, _ *corev1.Service) {
			s.Pools[0].Spec.Addresses = []string{"192.168.1.240-192.168.1.241"}
			lease := test.VIPLease("192.168.1.241", "")
			lease.Annotations[names.AnnotationConflict] = `{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05Z"}`
			s.Leases = append(s.Leases, lease)
		}, []string{"lan: tried true, chosen false, gives [], no free IPv4 address in pool lan: 1 of 2 in use, 1 being withdrawn or in conflict with another host"},
			"no free IPv4 address in pool lan: 1 of 2 in use, 1 being withdrawn or in conflict with another host"},
		{"a family that no pool has", func(_ *snapshot.Snapshot, service *corev1.Service) {
			service.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
		}, []string{"lan: tried true, chosen false, gives [], no IPv6 address in pool lan: add an IPv6 range or pool"}, "no IPv6 address in pool lan: add an IPv6 range or pool"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := test.Healthy()
			service := test.Service("late")
			s.Services = append(s.Services, service)
			tc.prepare(s, service)
			told := NewExplainer(s).Service(service).Services[0]
			if diff := cmp.Diff(tc.pools, poolsInShort(told.Pools)); diff != "" {
				t.Errorf("pools (-want +got):\n%s", diff)
			}
			if tc.refused != "" && told.Refused != tc.refused {
				t.Errorf("refused: %q, want %q", told.Refused, tc.refused)
			}
		})
	}
}

// What a Service has is of the pool that is told as chosen, whatever the others could give.
func TestExplainChosenPool(t *testing.T) {
	s := test.Healthy()
	told := NewExplainer(s).Service(s.Services[0])
	if diff := cmp.Diff([]string{"lan: tried true, chosen true, gives [192.168.1.240]"}, poolsInShort(told.Services[0].Pools)); diff != "" {
		t.Error(diff)
	}
	if told.Verdict != "192.168.1.240 is announced by node-2" || len(told.Mend) != 0 {
		t.Errorf("verdict %q, to mend %q", told.Verdict, told.Mend)
	}
}

// Each verdict says what is so, and what to do.
func TestVerdicts(t *testing.T) {
	type snap = *snapshot.Snapshot
	class := "example.com/other"
	for _, tc := range []struct {
		name          string
		prepare       func(snap)
		verdict, mend string
	}{
		{"not a load balancer", func(s snap) { s.Services[0].Spec.Type = corev1.ServiceTypeClusterIP }, "is not served: its type is ClusterIP", ""},
		{"of another class", func(s snap) { s.Services[0].Spec.LoadBalancerClass = &class }, `its loadBalancerClass is "example.com/other"`, ""},
		{"class-less, where those are left to others", func(s snap) {
			s.Deployments[0].Spec.Template.Spec.Containers[0].Args = []string{"--serve-classless=false"}
		}, "--serve-classless=false", ""},
		{"no pool", func(s snap) { s.Pools, s.Services[0] = nil, test.Service("web") }, "there is no IPAddressPool", "create an IPAddressPool in namespace metallb-system"},
		{"the controller has not looked yet", func(s snap) { s.Services[0] = test.Service("web") }, "Service default/web waits: an address is there for it, and the controller has not given it yet", ""},
		{"no controller to look", func(s snap) {
			s.Services[0] = test.Service("web")
			s.ControllerLease().Spec.HolderIdentity = nil
		}, "the controller has not given it yet", "no controller leads"},
		{"no advertisement", func(s snap) { s.Advertisements, s.Leases = nil, s.Leases[:3] }, "NoAdvertisement", "spec.ipAddressPools: [lan]"},
		{"an advertisement for another pool", func(s snap) {
			s.Advertisements[0].Spec.IPAddressPools, s.Leases = []string{"nal"}, s.Leases[:3]
		}, "NoAdvertisement", "L2Advertisement lan: it is not for pool lan"},
		{"an advertisement for other Services", func(s snap) {
			s.Advertisements[0].Spec.ServiceSelectors, s.Leases = []metav1.LabelSelector{{MatchLabels: map[string]string{"a": "b"}}}, s.Leases[:3]
		}, "NoAdvertisement", "its serviceSelectors do not match the Service"},
		{"all nodes have reasons of their own", func(s snap) {
			s.Leases = s.Leases[:3]
			s.SessionLease("node-1").Spec.HolderIdentity = nil
			s.Nodes[1].Labels[corev1.LabelNodeExcludeBalancers] = ""
			s.Nodes[2].Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}}
		}, "NoSpeaker on node-1", "kubectl label node node-2 node.kubernetes.io/exclude-from-external-load-balancers-"},
		{"another host answers", func(s snap) {
			s.Probes = []inspect.Probe{{Node: "node-1", Address: netip.MustParseAddr(test.VIP), Answers: []inspect.Answer{{MAC: "02:00:5e:10:00:01"}}}}
		}, "192.168.1.240 is answered for by 02:00:5e:10:00:01, which is no speaker", "find the host with the hardware address 02:00:5e:10:00:01"},
		{"two nodes answer", func(s snap) {
			s.Probes = []inspect.Probe{{Node: "node-1", Address: netip.MustParseAddr(test.VIP), Answers: []inspect.Answer{{MAC: test.MAC(2)}, {MAC: test.MAC(3)}}}}
		}, "192.168.1.240 is announced by node-2; 192.168.1.240 is answered for by 2 nodes: node-2, node-3", "ipvs.strictARP: true"},
		{"nobody answers", func(s snap) {
			s.Probes = []inspect.Probe{{Node: "node-1", Address: netip.MustParseAddr(test.VIP)}}
		}, "192.168.1.240 is announced by node-2; node-1 hears no answer for it on the LAN", "nothing filters ARP"},
		{"the holder answers", func(s snap) {
			s.Probes = []inspect.Probe{{Node: "node-1", Address: netip.MustParseAddr(test.VIP), Answers: []inspect.Answer{{MAC: test.MAC(2)}}}}
		}, "192.168.1.240 is announced by node-2", ""},
		{"a conflict keeps it from being announced", func(s snap) {
			lease := s.VIPLease(netip.MustParseAddr(test.VIP))
			lease.Spec.HolderIdentity = nil
			lease.Annotations[names.AnnotationConflict] = `{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05Z"}`
		}, "another host uses the address: 02:00:5e:10:00:01 on eth0, seen from node-1", ""},
		{"handed over", func(s snap) {
			s.VIPLease(netip.MustParseAddr(test.VIP)).Annotations[names.AnnotationSuccessor] = "node-3"
		}, "is announced by node-2, which hands it over to node-3", ""},
		{"its holder's session is another one by now", func(s snap) {
			epoch := "node-2/new"
			s.SessionLease("node-2").Spec.HolderIdentity = &epoch
		}, "none has taken it yet", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := test.Healthy()
			tc.prepare(s)
			told := NewExplainer(s).Service(s.Services[0])
			if !strings.Contains(told.Verdict, tc.verdict) {
				t.Errorf("verdict %q, want %q", told.Verdict, tc.verdict)
			}
			if mend := strings.Join(told.Mend, "\n"); !strings.Contains(mend, tc.mend) {
				t.Errorf("to mend: %q, want %q", mend, tc.mend)
			}
		})
	}
}

// An address that no Service has is told as that, with the pool it would be of.
func TestExplainAddressOfNobody(t *testing.T) {
	told := NewExplainer(test.Healthy()).Address(netip.MustParseAddr("192.168.1.249"))
	if len(told.Services) != 0 || told.Addresses[0].Pool != "lan" || !strings.Contains(told.Verdict, "no LoadBalancer Service of ours has the address") {
		t.Errorf("%+v", told)
	}
}
