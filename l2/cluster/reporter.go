// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Refusal is a VIP that no node may announce, for users.
type Refusal struct {
	VIP plan.VIP
	// Services on the VIP, as events refer to them.
	Services []*corev1.ObjectReference
	// Message says why, and what to do, in at most 1,024 bytes.
	Message string
}

// reportRest is how long the Reporter rests after each plan: it tells what has been so for seconds.
const reportRest = time.Second

// Reporter tells which VIPs no node may announce, and what L2Advertisements match. It sees the cluster as a speaker does, without being
// one: it is for the controller that leads.
type Reporter struct {
	watcher *Watcher
	leases  cache.SharedIndexInformer
	plans   chan map[netip.Addr]plan.VIP
	report  func(Refusal)
	covered func(map[types.UID]plan.Coverage)

	unannounced atomic.Pointer[map[plan.Reason]int] // never changed once it is there

	mu       sync.Mutex // guards sessions
	sessions sessions
}

// NewReporter returns a Reporter of the cluster, with the pools, L2Advertisements and session Leases of a namespace, and with Services from
// an informer that somebody else runs, and that leaves of each load balancer its labels, spec and status. It calls report,
// from one goroutine, once for each VIP that no node has been allowed to announce for some seconds, and again when the reason
// is another; and covered after each plan, with what each L2Advertisement matches, Services left out. Needs what NewWatcher needs, and to
// list and watch Leases in the namespace.
func NewReporter(kube kubernetes.Interface, custom client.Interface, namespace string, selection Selection, services cache.SharedIndexInformer,
	report func(Refusal), covered func(map[types.UID]plan.Coverage)) (*Reporter, error) {
	r := &Reporter{
		leases: informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(namespace), informers.WithTransform(trimLease),
			informers.WithTweakListOptions(func(options *metav1.ListOptions) {
				options.LabelSelector = names.LabelLease + "=" + names.LeaseSession
			})).Coordination().V1().Leases().Informer(),
		plans:   make(chan map[netip.Addr]plan.VIP, 1),
		report:  report,
		covered: covered,
	}
	var err error
	if r.watcher, err = newWatcher(kube, custom, namespace, selection, services, r.take); err != nil {
		return nil, err
	}
	r.watcher.rest = func(time.Duration) time.Duration { return reportRest }
	_, err = r.leases.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    r.observe,
		UpdateFunc: func(_, object any) { r.observe(object) },
		DeleteFunc: r.forget,
	})
	return r, err
}

// trimLease leaves of a session Lease what sessions read.
func trimLease(object any) (any, error) {
	if lease, ok := object.(*coordinationv1.Lease); ok {
		interfaces, known := lease.Annotations[names.AnnotationInterfaces]
		lease.ObjectMeta = identity(lease.ObjectMeta)
		lease.Labels = nil
		if known {
			lease.Annotations = map[string]string{names.AnnotationInterfaces: interfaces}
		}
		lease.Spec = coordinationv1.LeaseSpec{
			HolderIdentity: lease.Spec.HolderIdentity, LeaseDurationSeconds: lease.Spec.LeaseDurationSeconds, RenewTime: lease.Spec.RenewTime,
		}
	}
	return object, nil
}

func (r *Reporter) observe(object any) {
	if lease, ok := object.(*coordinationv1.Lease); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sessions.observe(lease, time.Now())
	}
}

func (r *Reporter) forget(object any) {
	if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = gone.Obj
	}
	if lease, ok := object.(*coordinationv1.Lease); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sessions.forget(lease)
	}
}

// take passes on a plan; one that was not taken yet is out of date.
func (r *Reporter) take(vips map[netip.Addr]plan.VIP) {
	select {
	case <-r.plans:
	default:
	}
	r.plans <- vips
}

// Run reports until the context is done.
func (r *Reporter) Run(ctx context.Context) error {
	go r.leases.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), r.leases.HasSynced) {
		return nil // stopped
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.watcher.Run(ctx) }()
	defer func() { stop(); <-ended }()

	every := time.NewTicker(time.Second) // sessions lapse without an event
	defer every.Stop()
	var refusals Refusals
	var speakers map[string]plan.Speaker
	for {
		if now := r.speakers(); speakers == nil || !reflect.DeepEqual(speakers, now) {
			speakers = now
			r.watcher.SetSpeakers(speakers)
		}
		for _, vip := range refusals.Due(time.Now()) {
			r.tell(vip)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- err
			return err
		case vips := <-r.plans:
			r.count(vips)
			refusals.Plan(vips, time.Now())
			r.covered(r.coverage(speakers))
		case <-every.C:
		}
	}
}

func (r *Reporter) speakers() map[string]plan.Speaker {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions.speakers(time.Now())
}

// coverage is what each L2Advertisement matches, but for Services, which come and go.
func (r *Reporter) coverage(speakers map[string]plan.Speaker) map[types.UID]plan.Coverage {
	state := plan.State{
		Nodes: list[*corev1.Node](r.watcher.nodes), Pools: list[*v1beta1.IPAddressPool](r.watcher.pools), Speakers: speakers,
	}
	found := map[types.UID]plan.Coverage{}
	for _, object := range list[*v1beta1.L2Advertisement](r.watcher.advertisements) {
		found[object.UID] = plan.CoverageOf(object, state)
	}
	return found
}

func (r *Reporter) tell(vip plan.VIP) {
	refusal := Refusal{VIP: vip, Message: plan.Explain(vip, r.details(vip)...)}
	for _, service := range vip.Services {
		if uid := r.watcher.ServiceUID(service); uid != "" {
			refusal.Services = append(refusal.Services, &corev1.ObjectReference{
				APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name, UID: uid,
			})
		}
	}
	r.report(refusal)
}

// details names the L2Advertisements that cannot be read, if that is the reason.
func (r *Reporter) details(vip plan.VIP) []string {
	if vip.Reason != plan.InvalidSelector {
		return nil
	}
	problems := map[string]bool{}
	for _, object := range list[*v1beta1.L2Advertisement](r.watcher.advertisements) {
		if err := plan.CheckSelectors(object); err != nil {
			problems[err.Error()] = true
		}
	}
	return slices.Sorted(maps.Keys(problems))
}
