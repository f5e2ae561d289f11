// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	metadatafake "k8s.io/client-go/metadata/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

const ours = "metallb-system"

// noObjects is an API server that has no objects of metallb.io.
func noObjects(t *testing.T) client.Interface {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"apiVersion":"metallb.io/v1beta1","kind":"List","items":[]}`)
	}))
	t.Cleanup(server.Close)
	custom, err := client.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return custom
}

func session(node string, renewed time.Time) *coordinationv1.Lease {
	epoch, seconds, at := node+"/e", int32(4), metav1.NewMicroTime(renewed)
	return &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: ours, Name: names.SessionLease(node), Labels: map[string]string{names.LabelLease: names.LeaseSession}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &epoch, LeaseDurationSeconds: &seconds, RenewTime: &at},
	}
}

func speakerPod(node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ours, Name: "speaker-" + node, Labels: map[string]string{"component": "speaker"}},
		Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// What is forbidden is told with its reason, and the rest is read.
func TestForbiddenIsUnread(t *testing.T) {
	kube := fake.NewClientset(speakerPod("node-1"))
	kube.PrependReactor("list", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("not yours"))
	})
	c := &Collector{Kube: kube, Custom: noObjects(t), Namespace: ours}
	s, err := c.Basic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.CouldRead(Nodes) || !s.CouldRead(Pods) || len(s.Pods) != 1 || s.Missing(Pods, Nodes) != Nodes {
		t.Errorf("unread: %v, pods: %d", s.Unread, len(s.Pods))
	}
}

// What a cluster does not have, or what only adds to a check, is no complaint when it is not read; all else is.
func TestUnreadWithoutComplaint(t *testing.T) {
	none := schema.GroupResource{Resource: "any"}
	for name, tc := range map[string]struct {
		resource, what string
		err            error
		told           bool
	}{
		"Kubernetes has no ServiceCIDRs":                    {"servicecidrs", ServiceRanges, apierrors.NewNotFound(none, ""), false},
		"ServiceCIDRs are forbidden":                        {"servicecidrs", ServiceRanges, apierrors.NewForbidden(none, "", nil), true},
		"pods of kube-system are forbidden":                 {"pods", SystemPods, apierrors.NewForbidden(none, "", nil), false},
		"pods of kube-system: the API server is overloaded": {"pods", SystemPods, apierrors.NewTooManyRequestsError("later"), true},
	} {
		t.Run(name, func(t *testing.T) {
			kube := fake.NewClientset()
			kube.PrependReactor("list", tc.resource, func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tc.err })
			c := &Collector{Kube: kube, Namespace: ours, snapshot: &Snapshot{}}
			c.serviceRanges(t.Context())
			c.systemPods(t.Context())
			if told := !c.snapshot.CouldRead(tc.what); told != tc.told {
				t.Errorf("unread: %v", c.snapshot.Unread)
			}
		})
	}
}

// Pods of kube-system are read, and no others.
func TestSystemPods(t *testing.T) {
	static := speakerPod("node-2")
	static.Namespace, static.Name = "kube-system", "kube-vip-node-2"
	c := &Collector{Kube: fake.NewClientset(speakerPod("node-1"), static), Namespace: ours, snapshot: &Snapshot{}}
	c.systemPods(t.Context())
	if pods := c.snapshot.SystemPods; len(pods) != 1 || pods[0].Name != static.Name {
		t.Errorf("pods: %v", pods)
	}
}

// Objects that mean nothing here are found in both groups of MetalLB's, once, and FRR-K8s's resources are not taken for ours.
func TestUnsupportedObjects(t *testing.T) {
	kube := fake.NewClientset()
	resources := func(version string, kinds ...string) *metav1.APIResourceList {
		list := &metav1.APIResourceList{GroupVersion: version}
		for i := 0; i < len(kinds); i += 2 {
			list.APIResources = append(list.APIResources, metav1.APIResource{Name: kinds[i], Kind: kinds[i+1]}, metav1.APIResource{Name: kinds[i] + "/status", Kind: kinds[i+1]})
		}
		return list
	}
	kube.Resources = []*metav1.APIResourceList{
		resources("metallb.io/v1beta2", "bgppeers", "BGPPeer"),
		resources("metallb.io/v1beta1", "ipaddresspools", "IPAddressPool", "bgppeers", "BGPPeer"),
		resources("frrk8s.metallb.io/v1beta1", "frrconfigurations", "FRRConfiguration", "frrk8sconfigurations", "FRRK8sConfiguration", "frrnodestates", "FRRNodeState"),
		resources("example.com/v1", "bgppeers", "BGPPeer"),
	}
	var objects []runtime.Object
	for apiVersion, kind := range map[string]string{
		"metallb.io/v1beta2": "BGPPeer", "frrk8s.metallb.io/v1beta1": "FRRConfiguration", "example.com/v1": "BGPPeer",
	} {
		objects = append(objects, &metav1.PartialObjectMetadata{
			TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}, ObjectMeta: metav1.ObjectMeta{Namespace: ours, Name: "tor"},
		})
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &Collector{Kube: kube, Metadata: metadatafake.NewSimpleMetadataClient(scheme, objects...), Namespace: ours, snapshot: &Snapshot{}}
	c.served(t.Context())
	slices.Sort(c.snapshot.Foreign)
	if diff := cmp.Diff([]string{"BGPPeer metallb-system/tor", "FRRConfiguration metallb-system/tor"}, c.snapshot.Foreign); diff != "" {
		t.Errorf("unsupported objects (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"v1beta1/bgppeers", "v1beta1/ipaddresspools", "v1beta2/bgppeers"}, c.snapshot.Served); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	if len(c.snapshot.Unread) > 0 {
		t.Errorf("unread: %v", c.snapshot.Unread)
	}
}

// A list that has pages is read to its end, and from its beginning when the pages have expired.
func TestPages(t *testing.T) {
	asked, expired := 0, false
	list := func(_ context.Context, options metav1.ListOptions) ([]*corev1.Node, string, error) {
		asked++
		switch options.Continue {
		case "":
			return []*corev1.Node{{}, {}}, "two", nil
		case "two":
			if !expired {
				expired = true
				return nil, "", apierrors.NewResourceExpired("too old")
			}
			return []*corev1.Node{{}}, "", nil
		}
		return nil, "", errors.New("what page?")
	}
	c := &Collector{snapshot: &Snapshot{}}
	if all := read(t.Context(), c, Nodes, list); len(all) != 3 || asked != 4 || !c.snapshot.CouldRead(Nodes) {
		t.Errorf("%d nodes, asked %d times, unread %v", len(all), asked, c.snapshot.Unread)
	}
}

// Whether a session is renewed is seen, and not told from a clock: a time of renewal in the past counts when it changes.
func TestRenewalsAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		past := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
		kube := fake.NewClientset(session("node-1", past), session("node-2", time.Now()))
		c := &Collector{Kube: kube, Namespace: ours, snapshot: &Snapshot{}}
		leases, err := kube.CoordinationV1().Leases(ours).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range leases.Items {
			c.snapshot.Leases = append(c.snapshot.Leases, &leases.Items[i])
		}
		go func() {
			time.Sleep(time.Second) // virtual
			if _, err := kube.CoordinationV1().Leases(ours).Update(t.Context(), session("node-1", past.Add(time.Second)), metav1.UpdateOptions{}); err != nil {
				t.Error(err)
			}
		}()
		began := time.Now()
		c.WatchSessions(t.Context())
		if diff := cmp.Diff(map[string]bool{"node-1": true}, c.snapshot.Renewed); diff != "" {
			t.Errorf("renewed (-want +got):\n%s", diff)
		}
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("it took %v: one and a half durations is how long a session may go without", took)
		}
		if sessions := c.snapshot.Sessions(); len(sessions) != 1 || sessions[0].Node != "node-1" {
			t.Errorf("sessions: %v", sessions)
		}
	})
}

// answering is an Executor that says the same in every pod.
type answering struct {
	said string
	err  error
}

func (a answering) Exec(context.Context, *corev1.Pod, string, ...string) ([]byte, error) {
	return []byte(a.said), a.err
}

// Speakers that cannot be asked are told, and hide nothing of the others.
func TestAskSpeakers(t *testing.T) {
	for name, tc := range map[string]struct {
		exec    Executor
		allowed bool
		asked   int
		unread  []string
	}{
		"they answer":                   {answering{said: `{"node":"node-1","aFieldOfLater":1}`}, true, 1, nil},
		"one is of another make":        {answering{said: "hello"}, true, 0, []string{"the speaker of node node-1"}},
		"it cannot be reached":          {answering{err: errors.New("no route")}, true, 0, []string{"the speaker of node node-1"}},
		"whoever asks may not":          {answering{said: "{}"}, false, 0, []string{Speakers}},
		"whoever asks does not want to": {nil, true, 0, []string{Speakers}},
	} {
		t.Run(name, func(t *testing.T) {
			kube := fake.NewClientset()
			kube.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
				review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
				review.Status.Allowed = tc.allowed
				return true, review, nil
			})
			c := &Collector{Kube: kube, Exec: tc.exec, Namespace: ours, snapshot: &Snapshot{Pods: []*corev1.Pod{speakerPod("node-1")}}}
			c.AskSpeakers(t.Context())
			var unread []string
			for _, each := range c.snapshot.Unread {
				unread = append(unread, each.What)
			}
			if diff := cmp.Diff(tc.unread, unread); diff != "" || len(c.snapshot.Speakers) != tc.asked {
				t.Errorf("%d speakers said something; unread (-want +got):\n%s", len(c.snapshot.Speakers), diff)
			}
		})
	}
}

// Flags are read from the pod templates, in every spelling that the programs take.
func TestFlags(t *testing.T) {
	spec := corev1.PodSpec{Containers: []corev1.Container{{Command: []string{"/l2-speaker", "--ignore-exclude-lb"}, Args: []string{"--serve-classless=false", "-load-balancer-class=l2", "--v=4"}}}}
	flags := flagsOf(spec)
	if got := flags.selection(); got != (Selection{LoadBalancerClass: "l2", IgnoreExcludeLabel: true}) {
		t.Errorf("%+v of %v", got, flags)
	}
}

// A flag's value may be an argument of its own; what comes after a switch is not its value.
func TestFlagsWithValuesApart(t *testing.T) {
	spec := corev1.PodSpec{Containers: []corev1.Container{{
		Args: []string{"--load-balancer-class", "example.com/l2", "--ignore-exclude-lb", "false", "--heartbeat-port", "7950", "-v", "4", "--cloud-config", "--leader-elect"},
	}}}
	want := flags{"load-balancer-class": "example.com/l2", "ignore-exclude-lb": "true", "heartbeat-port": "7950", "v": "4", "cloud-config": "true", "leader-elect": "true"}
	if diff := cmp.Diff(want, flagsOf(spec)); diff != "" {
		t.Errorf("flags (-want +got):\n%s", diff)
	}
}

// A holder is one only while the session lives under which it took the VIP.
func TestHolderOf(t *testing.T) {
	vip := netip.MustParseAddr("192.168.1.240")
	holder := "node-1"
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: names.VIPLease(vip), Annotations: map[string]string{names.AnnotationEpoch: "node-1/e"}},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder},
	}
	s := &Snapshot{Leases: []*coordinationv1.Lease{lease, session("node-1", time.Now())}}
	if got := s.HolderOf(vip); got != "node-1" {
		t.Errorf("held by %q", got)
	}
	lease.Annotations[names.AnnotationEpoch] = "node-1/before"
	if got := s.HolderOf(vip); got != "" {
		t.Errorf("held by %q under a session that has ended", got)
	}
}

// The file of --cloud-config counts where no flag overrules it.
func TestCloudConfig(t *testing.T) {
	pod := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"component": "controller"}},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Args: []string{"--cloud-config=/etc/l2/config.yaml", "--load-balancer-class=flag"}, VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/l2"}},
			}},
			Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "l2"},
			}}}},
		},
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: ours, Name: "controller"}, Spec: appsv1.DeploymentSpec{Template: pod}}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ours, Name: "l2"}, Data: map[string]string{
		"config.yaml": "loadBalancerClass: file\nserveClassless: false\nshareAcrossNamespaces: false\n",
	}}
	s, err := (&Collector{Kube: fake.NewClientset(deployment, config), Custom: noObjects(t), Namespace: ours}).Basic(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Settings(); got.Controller != (Selection{LoadBalancerClass: "flag"}) || !got.SeparateNamespaces {
		t.Errorf("%+v, unread %v", got, s.Unread)
	}
	s, err = (&Collector{Kube: fake.NewClientset(deployment), Custom: noObjects(t), Namespace: ours}).Basic(t.Context())
	if err != nil || s.CouldRead(CloudConfig) {
		t.Errorf("a file that is not there is read: %v", err)
	}
}
