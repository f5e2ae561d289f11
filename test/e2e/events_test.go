// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
)

// The events of a Service tell, in this order: why there is no address, that there is one, who announces it, why another does, and why nobody
// may, node by node. What is so again is told by the event that is there, whose count grows. TestAilmentsAreFoundAndMended has
// the event of a conflict.
func TestEventsTellTheStoryOfAService(t *testing.T) {
	b := begin(t, 3*time.Minute)
	s := b.listen("storied")
	nodes, err := b.Nodes(b.ctx)
	b.must(err)

	b.apply(served("storied"))
	s.hears(`^AllocationFailed: .*there is no IPAddressPool`)
	b.apply(pool("storied", lan))
	s.hears(`^IPAllocated: Assigned IP \["192\.168\.1\.240"\]`)
	b.apply(advertisement("storied", "storied"))
	first := s.hears(`^nodeAssigned: announcing from node "(\S+)"`)[0]

	uncordon := b.cordon(first)
	moved := s.hears(`^nodeChanged: 192\.168\.1\.240 went from node "`+first+`" to node "(\S+)": Cordoned$`, `^nodeAssigned: announcing from node "(\S+)"`)
	if moved[0] == first || moved[0] != moved[1] {
		t.Errorf("it went to %s, and is announced from %s", moved[0], moved[1])
	}
	b.holder(b.address("storied"), func(node string) bool { return node == moved[0] })

	uncordon()
	others := slices.DeleteFunc(slices.Clone(nodes), func(node string) bool { return node == first })
	b.cordon(others...)
	s.hears(`^nodeChanged: 192\.168\.1\.240 went from node "` + moved[0] + `" to node "` + first + `": \w+$`)
	_, err = b.AwaitEvent(b.ctx, namespace, "storied", "nodeAssigned", func(e corev1.Event) bool {
		return strings.Contains(e.Message, first) && e.Count == 2
	})
	b.must(err)

	b.must(b.Apply(b.ctx, advertisementWith("storied", "nodeSelectors: [{matchLabels: {kubernetes.io/hostname: "+first+"}}]", "storied")))
	b.labelNode(first, excludeLabel+"=", excludeLabel+"-")
	s.hears(`^NotAnnounced: no node may announce 192\.168\.1\.240: NotSelected on ` + strings.Join(others, ", ") + ` \(.+\); ExcludeLabel on ` + first + ` \(.+\)`)

	described, err := b.Kubectl(b.ctx, "describe", "service", "storied", "-n", namespace)
	b.must(err)
	for _, told := range s.told {
		if _, message, _ := strings.Cut(told, ": "); !strings.Contains(described, message) {
			t.Errorf("kubectl describe does not show %q:\n%s", told, described)
		}
	}
	t.Log(strings.Join(s.told, "\n"))
}

// story is what the events of one Service say, each as it is first told.
type story struct {
	*bench
	events <-chan watch.Event
	told   []string
}

// listen follows the events of a Service that is not there yet, for as long as the test runs.
func (b *bench) listen(service string) *story {
	b.t.Helper()
	selector := fields.SelectorFromSet(fields.Set{"involvedObject.kind": "Service", "involvedObject.name": service}).String()
	before, err := b.API.CoreV1().Events(namespace).List(b.ctx, metav1.ListOptions{FieldSelector: selector})
	b.must(err)
	w, err := b.API.CoreV1().Events(namespace).Watch(b.ctx, metav1.ListOptions{FieldSelector: selector, ResourceVersion: before.ResourceVersion})
	b.must(err)
	b.t.Cleanup(w.Stop)
	return &story{bench: b, events: w.ResultChan()}
}

// hears waits until the story goes on with all of these, in whatever order, and returns what each has in parentheses. What was told before does not
// count.
func (s *story) hears(patterns ...string) []string {
	s.t.Helper()
	found, missing := make([]string, len(patterns)), len(patterns)
	for missing > 0 {
		var event watch.Event
		select {
		case event = <-s.events:
		case <-s.ctx.Done():
		}
		e, ok := event.Object.(*corev1.Event)
		if !ok {
			s.t.Fatalf("the story does not go on with %q; until now it is\n%s", patterns, strings.Join(s.told, "\n"))
		}
		if event.Type != watch.Added {
			continue
		}
		text := fmt.Sprintf("%s: %s", e.Reason, e.Message)
		s.told = append(s.told, text)
		for i, pattern := range patterns {
			match := regexp.MustCompile(pattern).FindStringSubmatch(text)
			if match != nil && found[i] == "" {
				found[i] = match[len(match)-1]
				missing--
				break
			}
		}
	}
	return found
}
