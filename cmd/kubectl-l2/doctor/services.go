// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
)

// serviceChecks look at Services and their addresses.
var serviceChecks = []Check{
	{
		Name:  "services",
		Why:   "a Service without an address cannot be reached from outside",
		Needs: []string{snapshot.Services, snapshot.Pools, snapshot.Namespaces},
		Run:   services,
	},
	{
		Name:  "announcements",
		Why:   "an address that no node announces is reached by nobody on the LAN",
		Needs: []string{snapshot.Services, snapshot.EndpointSlices, snapshot.Nodes, snapshot.Pools, snapshot.Advertisements, snapshot.Leases},
		Run:   announcements,
	},
	{
		Name:  "local-endpoints",
		Why:   "with externalTrafficPolicy Local only nodes with a ready endpoint announce: without any there is none, and with one node there is no failover",
		Needs: []string{snapshot.Services, snapshot.EndpointSlices, snapshot.Nodes, snapshot.Pools, snapshot.Advertisements, snapshot.Leases},
		Run:   localEndpoints,
	},
}

func services(f *facts) (string, []Finding) {
	var findings []Finding
	waiting := slices.SortedFunc(maps.Keys(f.allocation.Waiting), func(a, b *corev1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, service := range waiting {
		e := f.explainer.Service(service)
		saw := "it waits for an address"
		for _, each := range e.Services {
			saw = each.Refused
		}
		mend := fmt.Sprintf("see kubectl l2 explain %s -n %s", service.Name, service.Namespace)
		if len(e.Mend) > 0 {
			mend = strings.Join(e.Mend, "; ")
		}
		severity := Error
		if f.allocation.Waiting[service] == nil {
			severity = Warning // it may be under way
		}
		findings = append(findings, Finding{Severity: severity, Object: "Service " + service.Namespace + "/" + service.Name, Saw: saw, Mend: mend})
		if len(findings) == mostFindings {
			findings = append(findings, more(len(waiting)-mostFindings, "Services wait"))
			break
		}
	}
	return count(len(f.allocation.Served), "Service") + " of type LoadBalancer", findings
}

// mostFindings is how many of a kind one check tells: nobody reads a thousand.
const mostFindings = 20

func more(n int, what string) Finding {
	return Finding{Severity: Error, Saw: fmt.Sprintf("%d more %s", n, what), Mend: "see kubectl l2 status -A"}
}

func announcements(f *facts) (string, []Finding) {
	var findings []Finding
	held := 0
	for _, address := range f.addresses() {
		if f.announcing.Held[address] != "" {
			held++
			continue
		}
		if len(findings) == mostFindings {
			findings = append(findings, more(len(f.announcing.Plan)-held-mostFindings, "addresses are not announced"))
			break
		}
		e := f.explainer.Address(address)
		severity := Error
		if e.Addresses[0].Reason == view.ReasonElection && len(e.Addresses[0].Candidates) > 0 {
			severity = Warning // it may be under way
		}
		mend := "see kubectl l2 explain " + address.String()
		if len(e.Mend) > 0 {
			mend = strings.Join(e.Mend, "; ")
		}
		findings = append(findings, Finding{
			Severity: severity, Object: "VIP " + address.String() + " of " + strings.Join(e.Addresses[0].Services, ", "), Saw: e.Addresses[0].Message, Mend: mend,
		})
	}
	return fmt.Sprintf("%d of %d addresses are announced", held, len(f.announcing.Plan)), findings
}

// addresses are those that Services have, in order.
func (f *facts) addresses() []netip.Addr {
	return slices.SortedFunc(maps.Keys(f.announcing.Plan), netip.Addr.Compare)
}

func localEndpoints(f *facts) (string, []Finding) {
	var findings []Finding
	local := 0
	for _, service := range f.allocation.Served {
		if service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal || service.DeletionTimestamp != nil {
			continue
		}
		local++
		ready, on := view.ReadyEndpoints(f.Snapshot, service)
		if ready > 0 && len(on) > 1 || len(f.sessions) < 2 {
			continue
		}
		if len(findings) == mostFindings {
			break
		}
		finding := Finding{
			Severity: Warning, Object: "Service " + service.Namespace + "/" + service.Name, Saw: "all its ready endpoints are on " + strings.Join(on, ", ") + ": no other node can take over",
			Mend: "let its pods run on two nodes or more, or set externalTrafficPolicy to Cluster",
		}
		if ready == 0 {
			finding.Severity, finding.Saw = Error, "externalTrafficPolicy is Local, and no node has a ready endpoint: none announces it"
			finding.Mend = "make pods ready that its selector matches: see kubectl get endpointslices -n " + service.Namespace
		}
		findings = append(findings, finding)
	}
	return count(local, "Service") + " with externalTrafficPolicy Local", findings
}

func formatSelectors(selectors []metav1.LabelSelector) string {
	var texts []string
	for i := range selectors {
		texts = append(texts, metav1.FormatLabelSelector(&selectors[i]))
	}
	return strings.Join(texts, " or ")
}
