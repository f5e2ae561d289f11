// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// APIVersion of what is printed with -o json and -o yaml. Fields are only ever added to a version.
const APIVersion = "cloud-provider-l2/v1"

// Status is what `kubectl l2 status` tells.
type Status struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"` // Status
	// VIPs of the Services asked for, in order of address. Hidden counts those of other Services.
	VIPs   []VIP `json:"vips"`
	Hidden int   `json:"hidden,omitempty"`
	// Waiting are the Services asked for that have no address, or not all they ask for.
	Waiting  []Waiting `json:"waiting,omitempty"`
	Pools    []Pool    `json:"pools"`
	Speakers []Speaker `json:"speakers"`
	// Unread is what could not be read, and is missing here therefore.
	Unread []snapshot.Unread `json:"unread,omitempty"`
}

// Waiting is a Service that does not have what it asks for, and why.
type Waiting struct {
	Service string `json:"service"`
	Reason  string `json:"reason"`
	// Gone is set when it waits no more and has no address either. It is told once, by `status -w`.
	Gone bool `json:"gone,omitempty"`
}

// Pool is how an IPAddressPool is used.
type Pool struct {
	Name          string `json:"name"`
	AutoAssign    bool   `json:"autoAssign"`
	AvoidBuggyIPs bool   `json:"avoidBuggyIPs"`
	Reserved      bool   `json:"reserved"`
	// Counts of addresses; 9223372036854775807 stands for that many or more.
	TotalIPv4 int64 `json:"totalIPv4"`
	InUseIPv4 int64 `json:"inUseIPv4"`
	TotalIPv6 int64 `json:"totalIPv6"`
	InUseIPv6 int64 `json:"inUseIPv6"`
	// Advertised is set when an L2Advertisement is for it.
	Advertised bool `json:"advertised"`
	// Problems keep it, or a part of it, from being used.
	Problems []string `json:"problems,omitempty"`
}

// Speaker is the speaker of one node.
type Speaker struct {
	Node string `json:"node"`
	Pod  string `json:"pod,omitempty"`
	// Session is its epoch, and empty while it has none; Since is when the session began, by that node's clock.
	Session string     `json:"session,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
	// VIPs that it holds.
	VIPs int `json:"vips"`
	// Hears counts the other speakers with a session that it hears, of Others; it is nil when it could not be asked.
	Hears  *int `json:"hears,omitempty"`
	Others int  `json:"others"`
	// Takes says whether it may take VIPs; WhyNot, why not.
	Takes  *bool  `json:"takes,omitempty"`
	WhyNot string `json:"whyNot,omitempty"`
	// Interfaces that it can announce on.
	Interfaces []string `json:"interfaces,omitempty"`
	Version    string   `json:"version,omitempty"`
	// Problem says what is wrong with it.
	Problem string `json:"problem,omitempty"`
}

// StatusOf tells of the Services that want accepts, and of all pools and speakers.
func StatusOf(s *snapshot.Snapshot, want func(*corev1.Service) bool) Status {
	allocation, announcing := Allocate(s), Announce(s)
	status := Status{APIVersion: APIVersion, Kind: "Status", VIPs: []VIP{}, Pools: []Pool{}, Speakers: []Speaker{}, Unread: s.Unread}
	for _, address := range slices.SortedFunc(maps.Keys(announcing.Plan), netip.Addr.Compare) {
		wanted := slices.ContainsFunc(announcing.Plan[address].Services, func(name types.NamespacedName) bool {
			service := s.Service(name.Namespace, name.Name)
			return service != nil && want(service)
		})
		if !wanted {
			status.Hidden++
			continue
		}
		status.VIPs = append(status.VIPs, announcing.vip(s, address))
	}
	for _, service := range slices.SortedFunc(maps.Keys(allocation.Waiting), byName) {
		if want(service) {
			status.Waiting = append(status.Waiting, Waiting{Service: service.Namespace + "/" + service.Name, Reason: whyWaiting(allocation.Waiting[service])})
		}
	}
	usage, advertised := allocation.Usage(), Advertisements(s)
	for _, object := range slices.SortedFunc(slices.Values(s.Pools), func(a, b *v1beta1.IPAddressPool) int { return cmp.Compare(a.Name, b.Name) }) {
		use := usage[object.Name]
		pool, _ := translate.Pool(object)
		status.Pools = append(status.Pools, Pool{
			Name: object.Name, AutoAssign: pool.AutoAssign, AvoidBuggyIPs: pool.AvoidBuggyIPs, Reserved: pool.Reservation != nil,
			TotalIPv4: use.TotalIPv4, InUseIPv4: use.InUseIPv4, TotalIPv6: use.TotalIPv6, InUseIPv6: use.InUseIPv6,
			Advertised: len(advertised[object.Name]) > 0, Problems: allocation.Problems(object.Name),
		})
	}
	status.Speakers = speakers(s, announcing.Held)
	return status
}

// Problems keep a pool, or a part of it, from being used.
func (a *Allocation) Problems(pool string) []string {
	problems := slices.Clone(a.Invalid[pool])
	for _, overlap := range a.Overlaps {
		if overlap.Pool == pool {
			problems = append(problems, translate.Overlap(overlap))
		}
	}
	return problems
}

func whyWaiting(err error) string {
	if err == nil {
		return "an address is there for it, and the controller has not given it yet: see `kubectl l2 doctor` if this lasts"
	}
	return err.Error()
}

// Advertisements lists, by name, the L2Advertisements that are for each pool.
func Advertisements(s *snapshot.Snapshot) map[string][]string {
	state := s.State()
	state.Services = nil // which of them are covered is not asked
	byPool := map[string][]string{}
	for _, object := range s.Advertisements {
		coverage := plan.CoverageOf(object, state)
		if coverage.Err != nil {
			continue
		}
		for _, pool := range coverage.Pools {
			byPool[pool] = append(byPool[pool], object.Name)
		}
	}
	return byPool
}

func speakers(s *snapshot.Snapshot, held map[netip.Addr]string) []Speaker {
	byNode := map[string]*Speaker{}
	at := func(node string) *Speaker {
		if byNode[node] == nil {
			byNode[node] = &Speaker{Node: node}
		}
		return byNode[node]
	}
	sessions := s.Sessions()
	for _, session := range sessions {
		speaker := at(session.Node)
		speaker.Session = session.Epoch
		if session.Lease.Spec.AcquireTime != nil {
			speaker.Since = &session.Lease.Spec.AcquireTime.Time
		}
		for _, each := range session.Interfaces {
			speaker.Interfaces = append(speaker.Interfaces, each.Name)
		}
	}
	for node, pod := range s.SpeakerPods() {
		speaker := at(node)
		speaker.Pod = pod.Name
		if speaker.Session == "" && s.CouldRead(snapshot.Leases) {
			speaker.Problem = fmt.Sprintf("pod %s has no session: see kubectl logs -n %s %s", pod.Name, pod.Namespace, pod.Name)
		}
	}
	for _, node := range s.Nodes {
		speaker := at(node.Name)
		if speaker.Pod == "" && speaker.Session == "" && s.CouldRead(snapshot.Pods) {
			speaker.Problem = "no speaker runs on the node"
		}
	}
	for _, node := range held {
		at(node).VIPs++
	}
	list := []Speaker{}
	for _, node := range slices.Sorted(maps.Keys(byNode)) {
		speaker := byNode[node]
		speaker.Others = len(sessions)
		if speaker.Session != "" {
			speaker.Others--
		}
		if told, ok := s.Speakers[node]; ok {
			hears := 0
			for _, other := range told.Speakers {
				if other.Heard && !other.Self && other.Epoch != "" {
					hears++
				}
			}
			speaker.Hears, speaker.Takes, speaker.WhyNot, speaker.Version = &hears, &told.Takes, told.WhyNot, told.Version
		}
		list = append(list, *speaker)
	}
	return list
}

// FormatCount writes a number of addresses.
func FormatCount(n int64) string {
	if n == math.MaxInt64 {
		return "2⁶³ or more"
	}
	return fmt.Sprint(n)
}
