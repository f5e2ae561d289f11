// SPDX-License-Identifier: Apache-2.0

package view

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	servicehelpers "k8s.io/cloud-provider/service/helpers"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// Allocation is the controller's allocator as it would be if it started now, from the same records.
type Allocation struct {
	*ipam.Allocator
	// Overlaps between pools, and Invalid, what in a pool cannot be understood, by pool.
	Overlaps []ipam.Overlap
	Invalid  map[string][]string
	// Served are the Services of ours, in the order in which they have a right to what they hold; Waiting are those that do not hold
	// all they ask for, and why; nil when what they ask for is there, and the controller has not given it yet.
	Served  []*corev1.Service
	Waiting map[*corev1.Service]error

	snapshot *snapshot.Snapshot
	labels   map[string]map[string]string // of namespaces
}

// Allocate works out who holds what, and why those wait that do.
func Allocate(s *snapshot.Snapshot) *Allocation {
	a := restore(s, nil)
	a.Waiting = map[*corev1.Service]error{}
	if s.Missing(snapshot.Pools, snapshot.Namespaces) != "" {
		return a // who waits, and why, cannot be told
	}
	for _, service := range a.Served {
		if service.DeletionTimestamp != nil {
			continue
		}
		request := a.request(service)
		if _, err := a.Allocator.Allocate(request, s.Taken); err != nil || len(recorded(service)) == 0 {
			a.Waiting[service] = err
		}
	}
	return a
}

// restore makes an allocator from the records of all Services but those left out.
func restore(s *snapshot.Snapshot, leaveOut func(*corev1.Service) bool) *Allocation {
	a := &Allocation{Allocator: ipam.NewAllocator(), Invalid: map[string][]string{}, snapshot: s, labels: map[string]map[string]string{}}
	settings := s.Settings()
	a.SetOptions(ipam.Options{SeparateNamespaces: settings.SeparateNamespaces})
	for _, namespace := range s.Namespaces {
		a.labels[namespace.Name] = namespace.Labels
	}
	var pools []ipam.Pool
	for _, object := range slices.SortedFunc(slices.Values(s.Pools), translate.ComparePools) {
		pool, invalid := translate.Pool(object)
		pools = append(pools, pool)
		if len(invalid) > 0 {
			a.Invalid[pool.Name] = invalid
		}
	}
	a.Overlaps = a.SetPools(pools)
	for _, service := range s.Services {
		if settings.Controller.Serves(service) {
			a.Served = append(a.Served, service)
		}
	}
	slices.SortFunc(a.Served, func(x, y *corev1.Service) int { return translate.CompareClaims(*x, *y) })
	for _, service := range a.Served {
		if leaveOut == nil || !leaveOut(service) {
			if addrs := recorded(service); len(addrs) > 0 {
				a.Restore(a.request(service), addrs, !servicehelpers.HasLBFinalizer(service))
			}
		}
	}
	a.withhold()
	return a
}

// withhold takes out what is nobody's and yet not free: what another host uses, and what a node still answers for.
func (a *Allocation) withhold() {
	conflicts := map[netip.Addr]string{}
	for _, lease := range a.snapshot.Leases {
		vip, ok := names.ParseVIPLease(lease.Name)
		if !ok {
			continue
		}
		if text, found := lease.Annotations[names.AnnotationConflict]; found {
			conflicts[vip] = translate.Conflict(text)
		}
		if node := a.snapshot.HolderOf(vip); node != "" {
			a.Quarantine(vip, node, a.snapshot.Taken) // no effect while a Service holds it
		}
	}
	a.SetConflicts(conflicts)
}

func (a *Allocation) request(service *corev1.Service) ipam.Request {
	return translate.Request(service, a.labels[service.Namespace])
}

// recorded are the addresses in a Service's status.
func recorded(service *corev1.Service) []netip.Addr { return translate.Recorded(service) }

// PoolVerdict says what a pool is to a Service.
type PoolVerdict struct {
	Name string `json:"name"`
	// Gives are the addresses of the pool that the Service has, or could have.
	Gives []netip.Addr `json:"gives,omitempty"`
	// Chosen is set when the Service's address is of it, or will be once the controller has looked; Tried, when it is one of the pools that
	// are tried for the Service.
	Chosen bool `json:"chosen"`
	Tried  bool `json:"tried"`
	// Reason why it gives nothing, or why it is not tried.
	Reason string `json:"reason,omitempty"`
	// InUse and Total count its addresses of the Service's families.
	InUse int64 `json:"inUse"`
	Total int64 `json:"total"`
}

// Pools says of each pool what it is to a Service, in the order in which pools are tried. Each is asked alone, as if the Service had
// nothing and asked for that pool by name, so that the answer is the allocator's own.
func (a *Allocation) Pools(service *corev1.Service) []PoolVerdict {
	request := a.request(service)
	usage := a.Usage()
	var without *Allocation // the Service, made when a pool is first asked
	var verdicts []PoolVerdict
	for _, pool := range a.Choice() {
		verdict := PoolVerdict{Name: pool.Name}
		for _, family := range request.Families {
			use := usage[pool.Name]
			if family == ipam.IPv6 {
				verdict.InUse, verdict.Total = addSaturating(verdict.InUse, use.InUseIPv6), addSaturating(verdict.Total, use.TotalIPv6)
			} else {
				verdict.InUse, verdict.Total = addSaturating(verdict.InUse, use.InUseIPv4), addSaturating(verdict.Total, use.TotalIPv4)
			}
		}
		for _, addr := range a.Held(request.ID) {
			if name, _ := a.PoolOf(addr); name == pool.Name {
				verdict.Gives = append(verdict.Gives, addr)
			}
		}
		verdict.Chosen = len(verdict.Gives) > 0
		byName := request.Pool == pool.Name || len(request.Addresses) > 0
		switch {
		case verdict.Chosen:
			verdict.Tried = true
		case request.Pool != "" && request.Pool != pool.Name:
			verdict.Reason = "the Service asks for pool " + request.Pool + " by name"
		case !byName && !pool.AutoAssign:
			verdict.Reason = "autoAssign is off, and the Service does not ask for it by name"
		default:
			if without == nil {
				without = restore(a.snapshot, func(other *corev1.Service) bool { return other.UID == service.UID })
			}
			verdict.Gives, verdict.Reason = without.wouldGive(request, pool.Name)
			verdict.Tried = true
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts
}

// wouldGive asks one pool alone, for a Service that has nothing, and takes back what it gives.
func (a *Allocation) wouldGive(request ipam.Request, pool string) (gives []netip.Addr, reason string) {
	request.Pool = pool
	result, err := a.Allocator.Allocate(request, a.snapshot.Taken)
	a.Release(request.ID, a.snapshot.Taken)
	if err != nil {
		return result.Addresses, err.Error()
	}
	return result.Addresses, ""
}

func addSaturating(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return max(a, b)
}

func byName(a, b *corev1.Service) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
