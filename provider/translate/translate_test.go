// SPDX-License-Identifier: Apache-2.0

package translate

import (
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// What cannot be understood in a pool is named and left out, and the rest goes on.
func TestPool(t *testing.T) {
	object := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "lan"}, Spec: v1beta1.IPAddressPoolSpec{
		Addresses:  []string{"192.168.1.0/28", "nonsense"},
		AllocateTo: &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Is"}}}}},
	}}
	pool, invalid := Pool(object)
	if len(pool.Ranges) != 1 || !pool.AutoAssign || !pool.Unreadable || len(invalid) != 2 {
		t.Fatalf("%+v, %q", pool, invalid)
	}
	if !strings.Contains(invalid[0], "nonsense") || !strings.Contains(invalid[1], "namespaceSelectors[0]") {
		t.Errorf("not named: %q", invalid)
	}
	if pool.Reservation.NamespaceSelectors[0].Matches(map[string]string{"a": "b"}) {
		t.Error("a selector that cannot be read matches")
	}
}

// The older Service has the first right to what it holds, and one that is being deleted the last.
func TestCompareClaims(t *testing.T) {
	begin := time.Now()
	claim := func(name string, age time.Duration, deleted bool) v1.Service {
		service := v1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(begin.Add(-age))}}
		if deleted {
			service.DeletionTimestamp = &metav1.Time{Time: begin}
		}
		return service
	}
	claims := []v1.Service{claim("deleted", time.Hour, true), claim("b", time.Minute, false), claim("a", time.Minute, false), claim("old", time.Hour, false)}
	slices.SortFunc(claims, CompareClaims)
	var names []string
	for _, service := range claims {
		names = append(names, service.Name)
	}
	if got := strings.Join(names, " "); got != "old a b deleted" {
		t.Errorf("order %q", got)
	}
}

// An annotation that cannot be read marks a conflict all the same.
func TestConflict(t *testing.T) {
	for annotation, want := range map[string]string{
		`{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"node-1","time":"2026-11-23T13:04:05Z"}`: "02:00:5e:10:00:01 on eth0 answers for it, seen from node-1",
		"yes": "another host answers for it",
	} {
		if got := Conflict(annotation); got != want {
			t.Errorf("Conflict(%q) = %q, want %q", annotation, got, want)
		}
	}
}

// TestLongInputIsCutInErrors: an annotation may have 256 KB, and an error becomes an event.
func TestLongInputIsCutInErrors(t *testing.T) {
	svc := &v1.Service{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"metallb.io/loadBalancerIPs": "192.168.1.1, " + strings.Repeat("x", 200_000)}},
		Spec:       v1.ServiceSpec{IPFamilies: []v1.IPFamily{v1.IPv4Protocol}},
	}
	want := `metallb.io/loadBalancerIPs names "` + strings.Repeat("x", 80) + `…", which is not an IP address: write for example 192.168.1.240`
	if err := Request(svc, nil).Invalid; err == nil || err.Error() != want {
		t.Errorf("%.500v, want %s", err, want)
	}
}
