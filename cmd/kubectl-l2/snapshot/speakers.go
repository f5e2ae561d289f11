// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

const (
	speakerContainer = "speaker"
	speakerCommand   = "/l2-speaker"
	// asked at once: each is a connection through the API server.
	askedAtOnce = 16
	askTimeout  = 10 * time.Second
)

// Executor runs a command in a container and returns its standard output. It is used by several goroutines.
type Executor interface {
	Exec(ctx context.Context, pod *corev1.Pod, container string, command ...string) ([]byte, error)
}

// AskSpeakers asks every speaker that runs for its status, after Basic.
func (c *Collector) AskSpeakers(ctx context.Context) {
	s := c.snapshot
	s.Speakers = map[string]inspect.Status{}
	if c.Exec == nil {
		c.unread(Speakers, errNotAsked)
		return
	}
	if !c.mayExec(ctx) {
		return
	}
	pods := s.SpeakerPods()
	c.ask(slices.Sorted(maps.Keys(pods)), func(node string) error {
		var status inspect.Status
		err := c.say(ctx, pods[node], &status, "status", "-o", "json")
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			s.Speakers[node] = status
		}
		return err
	})
}

// Question is an address to ask the LAN for, from a node.
type Question struct {
	Address netip.Addr
	Node    string
}

// Ask asks the LAN who answers for addresses, after AskSpeakers.
func (c *Collector) Ask(ctx context.Context, questions []Question) {
	s := c.snapshot
	if c.Exec == nil || !s.CouldRead(Speakers) {
		return
	}
	pods := s.SpeakerPods()
	byNode := map[string][]netip.Addr{} // one after the other from each node
	for _, question := range questions {
		if pods[question.Node] != nil {
			byNode[question.Node] = append(byNode[question.Node], question.Address)
		}
	}
	c.ask(slices.Sorted(maps.Keys(byNode)), func(node string) error {
		for _, address := range byNode[node] {
			var probe inspect.Probe
			if err := c.say(ctx, pods[node], &probe, "probe", address.String(), "-o", "json"); err != nil {
				return fmt.Errorf("probing %s from %s: %w", address, node, err)
			}
			probe.Node = node
			c.mu.Lock()
			s.Probes = append(s.Probes, probe)
			c.mu.Unlock()
		}
		return nil
	})
	slices.SortFunc(s.Probes, func(a, b inspect.Probe) int {
		if order := a.Address.Compare(b.Address); order != 0 {
			return order
		}
		return strings.Compare(a.Node, b.Node)
	})
}

// mayExec asks the API server first, so that who may not is told once, and not once for each node.
func (c *Collector) mayExec(ctx context.Context) bool {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: c.Namespace, Verb: "create", Resource: "pods", Subresource: "exec"},
	}}
	answer, err := c.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil || answer.Status.Allowed {
		return true // when in doubt, try
	}
	c.unread(Speakers, fmt.Errorf("you may not create pods/exec in namespace %s", c.Namespace))
	return false
}

// ask does something for each node, several at once.
func (c *Collector) ask(nodes []string, do func(node string) error) {
	var all sync.WaitGroup
	slots := make(chan struct{}, askedAtOnce)
	for _, node := range nodes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := do(node); err != nil {
				c.unread("the speaker of node "+node, err)
			}
		})
	}
	all.Wait()
}

// say runs the speaker's command in its pod and reads what it says.
func (c *Collector) say(ctx context.Context, pod *corev1.Pod, into any, arguments ...string) error {
	if pod.Status.Phase != corev1.PodRunning {
		return fmt.Errorf("its pod %s is %s", pod.Name, pod.Status.Phase)
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	output, err := c.Exec.Exec(ctx, pod, speakerContainer, append([]string{speakerCommand}, arguments...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(output, into); err != nil {
		return fmt.Errorf("l2-speaker %s of %s does not answer with JSON: %w", strings.Join(arguments, " "), pod.Name, err)
	}
	return nil
}

// WatchSessions watches, after Basic, whether sessions are renewed: until each was, or for as long as one may go without. It compares no
// clocks, so that a node with a wrong one is not taken for a dead one.
func (c *Collector) WatchSessions(ctx context.Context) {
	s := c.snapshot
	waiting := map[string]*coordinationv1.Lease{}
	longest := time.Duration(0)
	for _, lease := range s.Leases {
		if node, ok := names.ParseSessionLease(lease.Name); ok && Holder(lease) != "" && lease.Spec.LeaseDurationSeconds != nil {
			waiting[node] = lease
			longest = max(longest, time.Duration(*lease.Spec.LeaseDurationSeconds)*time.Second)
		}
	}
	if len(waiting) == 0 {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, longest+longest/2)
	defer cancel()
	renewed, err := c.awaitRenewals(ctx, waiting)
	if err != nil && ctx.Err() == nil {
		c.unread(Renewals, err)
		return
	}
	s.Renewed, s.Watched = renewed, time.Since(began)
}

var errNotAsked = errors.New("speakers are not asked, because of --ask-speakers=false")

var errWatchEnded = errors.New("the API server ended the watch of Leases")

func (c *Collector) awaitRenewals(ctx context.Context, waiting map[string]*coordinationv1.Lease) (renewed map[string]bool, err error) {
	renewed = map[string]bool{}
	watch, err := c.Kube.CoordinationV1().Leases(c.Namespace).Watch(ctx, metav1.ListOptions{LabelSelector: names.LabelLease + "=" + names.LeaseSession})
	if err != nil {
		return nil, err
	}
	defer watch.Stop()
	for len(waiting) > 0 {
		select {
		case <-ctx.Done():
			return renewed, nil
		case event, ok := <-watch.ResultChan():
			if !ok {
				return renewed, errWatchEnded
			}
			lease, is := event.Object.(*coordinationv1.Lease)
			if !is {
				continue
			}
			node, _ := names.ParseSessionLease(lease.Name)
			before := waiting[node]
			if before != nil && Holder(lease) != "" && !before.Spec.RenewTime.Equal(lease.Spec.RenewTime) {
				renewed[node] = true
				delete(waiting, node)
			}
		}
	}
	return renewed, nil
}
