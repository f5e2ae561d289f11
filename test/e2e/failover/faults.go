// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// fault is something that happens to the node that holds the VIP.
type fault struct {
	name  string
	title string
	// about says in the report what was done.
	about string
	// inject does it, and returns how to mend it.
	inject func(ctx context.Context, r *rig, node string) (mend func(context.Context) error, err error)
	// every: it is done once for so many of the others.
	every int
	// planned: the node is told, and no new connection may fail.
	planned bool
}

// faults in the order in which they are measured and reported.
var faults = []fault{
	{name: "cut", title: "cable cut", about: "the holder's carrier goes", inject: cutCable, every: 1},
	{name: "isolate", title: "isolation", about: "the switch drops all of the holder's frames: peers, API server, gateway and clients are gone, its carrier stays", inject: isolate, every: 1},
	{name: "drain", title: "drain", about: "`kubectl drain` of the holder", inject: drain, every: 1, planned: true},
	{name: "delete", title: "speaker's pod deleted", about: "`kubectl delete pod` of the holder's speaker", inject: deletePod, every: 1, planned: true},
	{name: "kill", title: "speaker killed", about: "SIGKILL to the holder's speaker; clients that know the way still reach the node", inject: kill, every: 1},
	{name: "rollout", title: "rollout of all speakers", about: "`kubectl rollout restart` of the DaemonSet, one in twelve of the runs", inject: rollout, every: 12, planned: true},
}

func cutCable(ctx context.Context, r *rig, node string) (func(context.Context) error, error) {
	return func(ctx context.Context) error { return r.Heal(ctx, node) }, r.Cut(ctx, node)
}

func isolate(ctx context.Context, r *rig, node string) (func(context.Context) error, error) {
	return func(ctx context.Context) error { return r.Heal(ctx, node) }, r.Isolate(ctx, node)
}

func drain(ctx context.Context, r *rig, node string) (func(context.Context) error, error) {
	uncordon := func(ctx context.Context) error {
		_, err := r.Kubectl(ctx, "uncordon", node)
		return err
	}
	_, err := r.Kubectl(ctx, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
	return uncordon, err
}

func deletePod(ctx context.Context, r *rig, node string) (func(context.Context) error, error) {
	pod, err := r.speakerOn(ctx, node)
	if err != nil {
		return nil, err
	}
	mend := func(ctx context.Context) error { return r.awaitReplacement(ctx, pod) }
	return mend, r.API.CoreV1().Pods(lab.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{})
}

// kill is mended by a new pod: the kubelet starts a container that dies again and again later each time.
func kill(ctx context.Context, r *rig, node string) (func(context.Context) error, error) {
	pod, err := r.speakerOn(ctx, node)
	if err != nil {
		return nil, err
	}
	mend := func(ctx context.Context) error {
		second := int64(1) // it has nothing to hand over
		if err := r.API.CoreV1().Pods(lab.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &second}); err != nil {
			return err
		}
		return r.awaitReplacement(ctx, pod)
	}
	return mend, r.KillSpeaker(ctx, node)
}

func rollout(ctx context.Context, r *rig, _ string) (func(context.Context) error, error) {
	if _, err := r.Kubectl(ctx, "rollout", "restart", "daemonset/speaker", "-n", lab.Namespace); err != nil {
		return nil, err
	}
	return func(context.Context) error { return nil }, r.AwaitRollout(ctx)
}

func (r *rig) speakerOn(ctx context.Context, node string) (*corev1.Pod, error) {
	pods, err := r.API.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "component=speaker", FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) != 1 {
		return nil, fmt.Errorf("%d speakers' pods are on %s, want one", len(pods.Items), node)
	}
	return &pods.Items[0], nil
}

// awaitReplacement returns when a pod is gone and the one in its place is ready.
func (r *rig) awaitReplacement(ctx context.Context, old *corev1.Pod) error {
	return r.AwaitPods(ctx, lab.Namespace, old.Labels["app"], "to be replaced on "+old.Spec.NodeName, func(pods []*corev1.Pod) error {
		missing := errors.New("there is no new one")
		for _, p := range pods {
			switch {
			case p.UID == old.UID:
				return errors.New("the old one is still there")
			case p.Spec.NodeName == old.Spec.NodeName && p.Labels["component"] == old.Labels["component"] && isReady(p):
				missing = nil
			}
		}
		return missing
	})
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

const (
	// recoverLimit is how long a VIP may take to move. One that does not is measured too.
	recoverLimit = 20 * time.Second
	// after is how many connections succeed before a fault counts as over.
	after = 50
)

// errNotTheHolder: the VIP had moved by itself just before the fault, which then measured nothing.
var errNotTheHolder = errors.New("the VIP had just moved to another node")

// once does a fault to the holder and returns what was seen. All is mended when it returns, also when it failed.
func (r *rig) once(ctx context.Context, f fault) (*sample, error) {
	before, err := r.lease(ctx, func(*coordinationv1.Lease) error { return nil })
	if err != nil {
		return nil, err
	}
	s := &sample{marks: marks{Fault: f.name, Node: *before.Spec.HolderIdentity, Injected: time.Now()}}
	mend, err := f.inject(ctx, r, s.Node)
	s.Done = time.Now()
	if err == nil {
		r.recovered(ctx, s, before)
	}
	s.Healed = time.Now()
	if mend != nil {
		mending, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), readyLimit, fmt.Errorf("not mended within %v", readyLimit))
		defer cancel()
		err = errors.Join(err, mend(mending))
	}
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", f.title, s.Node, err)
	}
	if err := r.ready(ctx); err != nil {
		return nil, fmt.Errorf("after a %s of %s: %w", f.title, s.Node, err)
	}
	s.Ready = time.Now()
	from := s.Injected.Add(-lead)
	s.Attempts, s.Answers = r.connections.Since(from), r.watch.Since(from)
	r.connections.Forget(s.Ready.Add(-2 * time.Second))
	r.watch.Forget(s.Ready.Add(-2 * time.Second))
	for _, a := range s.Answers {
		if a.At.After(s.Injected) {
			break
		}
		if a.Host != s.Node {
			return nil, errNotTheHolder
		}
	}
	return s, nil
}

// recovered waits until another epoch holds the VIP, its node answers, and clients are served by it. What does not happen in time is
// left out of the sample's marks.
func (r *rig) recovered(ctx context.Context, s *sample, before *coordinationv1.Lease) {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	epoch := before.Annotations[names.AnnotationEpoch]
	lease, err := r.lease(ctx, func(l *coordinationv1.Lease) error {
		if l.Annotations[names.AnnotationEpoch] == epoch {
			return fmt.Errorf("%s still holds it", epoch)
		}
		return nil
	})
	if err != nil {
		r.say("  %v", err)
		return
	}
	s.Next = *lease.Spec.HolderIdentity
	if err := r.answered(ctx, s.Injected, s.Next); err != nil {
		r.say("  %v", err)
		return
	}
	if err := r.steady(ctx, time.Now(), after); err != nil {
		r.say("  %v", err)
		return
	}
	s.Recovered = time.Now()
}
