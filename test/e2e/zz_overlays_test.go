// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpwatch"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// ownOverlay is what somebody makes of the overlay that docs/install.md shows who has another load balancer, too, and needs flags of speakers.
// What --on-api-loss=withdraw does is shown by the tests of the election.
const ownOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - ../my-cluster
components:
  - ../manifests/components/load-balancer-class
patches:
  - target: {kind: DaemonSet, name: speaker}
    patch: |
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --heartbeat-port=17946}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --gratuitous-interval=10s}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: "--exclude-interfaces=^(lo|docker.*|cni.*|flannel.*|veth.*|storage.*)$"}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --on-api-loss=withdraw}
`

// burst is how long an address that changed hands is announced for without --gratuitous-interval, and a moment more.
const burst = 5 * time.Second

// The overlay that docs/install.md shows, with everything else that there is to overlay, comes up over what is installed, and does what each part
// of it is for. By the name of its file it comes before the test that looks at all that the product ever asked for.
func TestOverlaysTogether(t *testing.T) {
	b := begin(t, 3*time.Minute)
	b.apply(prometheusOperator)
	_, err := b.Kubectl(b.ctx, "wait", "--for=condition=established", "--timeout=20s", "crd/prometheusrules.monitoring.coreos.com", "crd/servicemonitors.monitoring.coreos.com")
	b.must(err)
	b.extraInterface("node-1", "storage0")
	b.speakerSays("node-1", func(s inspect.Status) error { return named(s, "eth0", "storage0") })
	pass := b.dropped("udp dport 7946")
	b.overlaid()

	b.apply(pool("overlaid", lan), advertisement("overlaid", "overlaid"), ofClass(served("classed")))
	vip := b.address("classed") // from a controller of the overlay: no other serves the class
	b.apply(served("unclassed"))
	others := netip.MustParseAddr("192.168.1.249")
	b.written(t, newService("unclassed"), corev1.LoadBalancerIngress{IP: others.String()})
	_, err = b.AwaitHolder(b.ctx, vip, lab.Anybody)
	b.must(err)
	wire := b.watch(lab.Client, vip)
	b.must(b.AwaitRollout(b.ctx))
	b.must(b.AwaitCalm(b.ctx))

	t.Run("load-balancer-class: what has no class is left to others", func(t *testing.T) {
		b.apply(ofClass(served("classed-late")))
		late := b.address("classed-late") // by then the other would have been served
		if late == vip || late == others {
			t.Errorf("it has %s, which another Service has", late)
		}
		b.holder(late, lab.Anybody)
		b.holder(vip, lab.Anybody)
		b.nobody(others)
		if got := b.addresses()["unclassed"]; got != others {
			t.Errorf("the Service without class has %v, another controller gave it %s", got, others)
		}
	})
	t.Run("ha: two controllers on two nodes", func(t *testing.T) {
		pods, err := b.API.CoreV1().Pods(lab.Namespace).List(b.ctx, metav1.ListOptions{LabelSelector: "component=controller"})
		b.must(err)
		on := map[string]bool{}
		for _, pod := range pods.Items {
			if pod.DeletionTimestamp == nil {
				on[pod.Spec.NodeName] = true
			}
		}
		if len(on) != 2 {
			t.Errorf("controllers are on %v", slices.Sorted(maps.Keys(on)))
		}
		budget, err := b.API.PolicyV1().PodDisruptionBudgets(lab.Namespace).Get(b.ctx, "controller", metav1.GetOptions{})
		b.must(err)
		if budget.Status.ExpectedPods != 2 || budget.Status.DisruptionsAllowed != 1 {
			t.Errorf("of %d controllers %d may be disrupted, want 1 of 2", budget.Status.ExpectedPods, budget.Status.DisruptionsAllowed)
		}
	})
	t.Run("network-policy: it selects the controllers", func(t *testing.T) {
		policy, err := b.API.NetworkingV1().NetworkPolicies(lab.Namespace).Get(b.ctx, "controller", metav1.GetOptions{})
		b.must(err)
		pods, err := b.API.CoreV1().Pods(lab.Namespace).List(b.ctx, metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(&policy.Spec.PodSelector)})
		b.must(err)
		for _, pod := range pods.Items {
			if !strings.HasPrefix(pod.Name, "controller-") {
				t.Errorf("it selects pod %s", pod.Name)
			}
		}
		if len(pods.Items) < 2 {
			t.Errorf("it selects %d pods", len(pods.Items))
		}
	})
	t.Run("--heartbeat-port: all hear each other, and nothing passes at the usual port", func(t *testing.T) {
		nodes, err := b.Nodes(b.ctx)
		b.must(err)
		for _, node := range nodes {
			b.speakerSays(node, func(s inspect.Status) error { return hears(s, nodes) })
		}
	})
	t.Run("--exclude-interfaces: an interface of that name is left out", func(t *testing.T) {
		b.speakerSays("node-1", func(s inspect.Status) error { return named(s, "eth0") })
	})
	t.Run("--gratuitous-interval: an address that stays is announced again", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(b.ctx, soon)
		defer cancel()
		b.must(wire.Await(ctx, time.Time{}, announcedAnew))
	})
	pass()
}

// overlaid applies ownOverlay for as long as the test runs. The registry of the page is none: the images are those that the nodes have.
func (b *bench) overlaid() {
	b.t.Helper()
	before, err := b.workloads(b.ctx)
	b.must(err)
	e := examples{b, documentation(b.t), b.t.TempDir()}
	shown := strings.ReplaceAll(e.shows("../manifests/components/ha"), "registry.example.com/l2/", "localhost/cloud-provider-l2/")
	folder, err := e.laid(shown)
	b.must(err)
	own := filepath.Join(filepath.Dir(folder), "own")
	b.must(os.Mkdir(own, 0o755))
	write(b.t, filepath.Join(own, "kustomization.yaml"), ownOverlay)
	b.later(func(ctx context.Context) error {
		for _, args := range [][]string{
			{"apply", "-f", filepath.Join(b.Root, lab.Manifest)},
			{"delete", "pods", "-l", "component=speaker", "-n", lab.Namespace, "--wait=false"}, // all at once
			{"delete", "-k", filepath.Join(b.Root, "manifests", "monitoring"), "--ignore-not-found"},
			{"delete", "networkpolicy/controller", "poddisruptionbudget/controller", "-n", lab.Namespace, "--ignore-not-found"},
		} {
			if _, err := b.Kubectl(ctx, args...); err != nil {
				return err
			}
		}
		after, err := b.workloads(ctx)
		if diff := gocmp.Diff(before, after); diff != "" {
			return fmt.Errorf("what was installed before is not what is now (-before +now)\n%s", diff)
		}
		return err
	})
	_, err = b.Kubectl(b.ctx, "apply", "-k", own)
	b.must(err)
}

// workloads are the specs of the controller and the speakers.
func (b *bench) workloads(ctx context.Context) (specs []any, err error) {
	var list struct{ Items []struct{ Spec any } }
	text, err := b.Kubectl(ctx, "get", "deployment/controller", "daemonset/speaker", "-n", lab.Namespace, "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &list)
	}
	for _, each := range list.Items {
		specs = append(specs, each.Spec)
	}
	return specs, err
}

// ofClass gives a Service the class of the overlay.
func ofClass(service string) string {
	return strings.Replace(service, "type: LoadBalancer", "type: LoadBalancer\n  loadBalancerClass: cloud-provider-l2/l2", 1)
}

// extraInterface gives a node another interface for as long as the test runs.
func (b *bench) extraInterface(node, name string) {
	b.t.Helper()
	_, err := b.Exec(b.ctx, node, "ip", "link", "add", name, "up", "type", "veth", "peer", "name", "veth-"+name)
	b.must(err)
	b.later(func(ctx context.Context) error {
		_, err := b.Exec(ctx, node, "ip", "link", "delete", name)
		return err
	})
	_, err = b.Exec(b.ctx, node, "ip", "link", "set", "veth-"+name, "up")
	b.must(err)
}

// speakerSays asks a node's speaker for its status until judge is content.
func (b *bench) speakerSays(node string, judge func(inspect.Status) error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, soon)
	defer cancel()
	for {
		missing := func() error {
			pods, err := b.API.CoreV1().Pods(lab.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "component=speaker", FieldSelector: "spec.nodeName=" + node})
			if err != nil {
				return err
			}
			pods.Items = slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
			if len(pods.Items) != 1 {
				return fmt.Errorf("%d speakers run there", len(pods.Items))
			}
			text, err := b.Kubectl(ctx, "exec", "-n", lab.Namespace, pods.Items[0].Name, "--", "l2-speaker", "status", "-o", "json")
			if err != nil {
				return err
			}
			var status inspect.Status
			return errors.Join(json.Unmarshal([]byte(text), &status), judge(status))
		}()
		if missing == nil {
			return
		}
		if ctx.Err() != nil {
			b.t.Fatalf("the speaker of %s: %v", node, missing)
		}
	}
}

// named tells which interfaces a speaker announces on, when these are others than expected.
func named(s inspect.Status, want ...string) error {
	var got []string
	for _, each := range s.Interfaces {
		got = append(got, each.Name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("its interfaces are %v, want %v", got, want)
	}
	return nil
}

// hears tells which nodes a speaker does not hear by its own ears.
func hears(s inspect.Status, nodes []string) error {
	var got []string
	for _, each := range s.Speakers {
		if each.Self || each.Heard && each.HeardAgo != nil {
			got = append(got, each.Node)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, nodes) {
		return fmt.Errorf("it hears %v, want %v", got, nodes)
	}
	return nil
}

// announcedAnew is content with an announcement of a host that had answered for longer than a burst.
func announcedAnew(answers []arpwatch.Answer) error {
	var host string
	var since time.Time
	for _, a := range answers {
		if a.Host != host {
			host, since = a.Host, a.At
		}
		if a.Kind == arpwatch.Announcement && a.At.Sub(since) > burst {
			return nil
		}
	}
	return fmt.Errorf("%s has answered since %v and announced nothing after its burst", host, since.Format(time.StampMilli))
}
