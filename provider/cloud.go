// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	cloudprovider "k8s.io/cloud-provider"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
	"github.com/cloud-provider-l2/cloud-provider-l2/provider/translate"
)

// Name is what `--cloud-provider` says to use this provider.
const Name = "l2"

// Options are what flags set. The zero value is what a cluster without other load balancers needs, but for Namespace.
type Options struct {
	// Namespace holds the pools, the Leases and the memberlist Secret.
	Namespace string
	// LoadBalancerClass is the spec.loadBalancerClass of Services to serve besides class-less ones. Empty: none.
	LoadBalancerClass string
	// HideClassless leaves Services without a class to somebody else.
	HideClassless bool
	// SeparateNamespaces refuses to let Services of different namespaces share an address.
	SeparateNamespaces bool
	// IgnoreExcludeLabel says that speakers announce from nodes with the exclude label too; it changes what users are told only.
	IgnoreExcludeLabel bool
}

// Cloud is the provider. Configure it before the cloud-controller-manager initializes it. Its exported methods are
// safe for concurrent use; mu guards what is below it.
type Cloud struct {
	options  Options
	clients  clients
	services *services
	caches   caches
	events   *eventQueue
	recorder record.EventRecorder
	changes  *changes
	metrics  *controllerMetrics
	now      func() time.Time
	stop     <-chan struct{}

	seeded  atomic.Bool
	running sync.WaitGroup

	poolsChanged  signal // pools must be read again
	addressFreed  signal // somebody may get what they wait for
	statusChanged signal // a pool's counters or conditions may differ from its status
	coverChanged  signal // an L2Advertisement's condition may differ from its status
	leasesChanged signal // a Lease may be without use, or an address withdrawn

	mu        sync.Mutex
	allocator *ipam.Allocator
	pools     poolSet
	specs     map[types.UID]v1beta1.IPAddressPoolSpec // of the pools that the allocator has
	judged    map[types.UID]judgedBy                  // of the Services that the allocator knows
	terms     map[types.UID]ipam.Sharing              // of those whose last Ensure gave them all they ask for
	lastFreed time.Time                               // when an address last lost its last Service
	coverage  map[types.UID]plan.Coverage             // of the L2Advertisements, when they were last looked at
}

type clients struct {
	kube   kubernetes.Interface
	events kubernetes.Interface
	pools  client.Interface
}

type caches struct {
	nodes          coreinformers.NodeInformer
	namespaces     coreinformers.NamespaceInformer
	pools          cache.SharedIndexInformer
	advertisements cache.SharedIndexInformer
	leases         cache.SharedIndexInformer
	foreign        foreignCaches
}

var (
	_ cloudprovider.Interface    = (*Cloud)(nil)
	_ cloudprovider.InformerUser = (*Cloud)(nil)
	_ cloudprovider.LoadBalancer = (*Cloud)(nil)
	_ serviceOwner               = (*Cloud)(nil)
)

// New returns a provider that is yet to be configured.
func New() *Cloud {
	return &Cloud{
		options:       DefaultOptions(),
		allocator:     ipam.NewAllocator(),
		judged:        map[types.UID]judgedBy{},
		terms:         map[types.UID]ipam.Sharing{},
		changes:       newChanges(),
		metrics:       newControllerMetrics(),
		now:           time.Now,
		poolsChanged:  newSignal(),
		addressFreed:  newSignal(),
		statusChanged: newSignal(),
		coverChanged:  newSignal(),
		leasesChanged: newSignal(),
	}
}

// Configure sets the options. Call it before Initialize.
func (c *Cloud) Configure(options Options) { c.options = options }

// Options are those that were configured, or the defaults.
func (c *Cloud) Options() Options { return c.options }

// Initialize makes the clients. Events have one of their own, so that they never hold up a status patch.
func (c *Cloud) Initialize(builder cloudprovider.ControllerClientBuilder, stop <-chan struct{}) {
	c.clients.kube = builder.ClientOrDie("metallb-controller")
	c.clients.events = builder.ClientOrDie("metallb-controller-events")
	pools, err := client.NewForConfig(builder.ConfigOrDie("metallb-controller-pools"))
	if err != nil {
		klog.Background().Error(err, "Cannot make a client for IPAddressPools")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
	c.clients.pools = pools
	registerMetrics(c)
	c.stop = stop
}

// SetInformers wires the caches and starts the provider's own loops. The informers of the factory are started by
// the cloud-controller-manager afterwards.
func (c *Cloud) SetInformers(factory informers.SharedInformerFactory) {
	c.start(wait.ContextForChannel(c.stop), factory, client.NewIPAddressPoolInformer(c.clients.pools, c.options.Namespace, 0))
}

func (c *Cloud) start(ctx context.Context, factory informers.SharedInformerFactory, pools cache.SharedIndexInformer) {
	c.services = newServices(factory.Core().V1().Services(), c.options.LoadBalancerClass, !c.options.HideClassless, c)
	c.caches = caches{
		nodes:          factory.Core().V1().Nodes(),
		namespaces:     factory.Core().V1().Namespaces(),
		pools:          pools,
		advertisements: client.NewL2AdvertisementInformer(c.clients.pools, c.options.Namespace, 0),
		leases:         newLeaseInformer(c.clients.kube, c.options.Namespace),
		foreign:        newForeignCaches(c.clients.pools, c.options.Namespace),
	}
	c.allocator.SetOptions(ipam.Options{SeparateNamespaces: c.options.SeparateNamespaces, Withdrawing: c.withdrawing})
	slim(c.services.ServiceInformer.Informer(), c.caches.nodes.Informer(), c.caches.namespaces.Informer(), c.caches.advertisements)
	c.watchPools()
	c.watchAdvertisements()
	c.watchNamespaces()
	c.watchLeases()

	c.events = newEventQueue(c.clients.events, c.metrics.eventsDropped.Inc)
	c.recorder = newRecorder(c.events)

	for _, informer := range []cache.SharedIndexInformer{c.caches.pools, c.caches.advertisements, c.caches.leases, c.caches.foreign.pools, c.caches.foreign.advertisements} {
		c.running.Go(func() { informer.RunWithContext(ctx) })
	}
	c.running.Go(func() { c.events.run(ctx) })
	c.running.Go(func() { c.run(ctx) })
}

// run seeds the allocator and keeps everything up to date until ctx is done.
func (c *Cloud) run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.services.ServiceInformer.Informer().HasSynced, c.caches.namespaces.Informer().HasSynced,
		c.caches.nodes.Informer().HasSynced, c.caches.pools.HasSynced, c.caches.leases.HasSynced) {
		return
	}
	if !c.seedUntilDone(ctx) {
		return
	}
	defer c.seeded.Store(false) // what is still in the queue is for the next leader

	var loops sync.WaitGroup
	loops.Go(func() { c.poolsChanged.each(ctx, 0, func() { c.applyPools(ctx) }) })
	loops.Go(func() { c.addressFreed.each(ctx, 0, func() { c.settle(false) }) })
	loops.Go(func() {
		failures := map[string]string{}
		c.statusChanged.each(ctx, poolStatusPeriod, func() { c.writePoolStatus(ctx, failures) })
	})
	loops.Go(func() {
		writer := advertisementWriter{cloud: c, failures: map[string]string{}, dropped: map[types.UID]metav1.Condition{}}
		c.coverChanged.each(ctx, advertisementStatusPeriod, func() { writer.write(ctx) })
	})
	loops.Go(func() { c.sweepUntilDone(ctx) })
	loops.Go(func() { c.keepMemberlistSecret(ctx) })
	loops.Go(func() { c.reportForeign(ctx) })
	loops.Wait()
}

// Services is the cache of all Services. Those that balance load have their labels, spec and status in it. Call it after SetInformers; the
// cloud-controller-manager runs it.
func (c *Cloud) Services() cache.SharedIndexInformer { return c.services.ServiceInformer.Informer() }

// NotAnnounced tells users of a Service, by an event, that no node may announce its address, and why. When there is very
// much to tell already it waits, until ctx is done. Call it after SetInformers.
func (c *Cloud) NotAnnounced(ctx context.Context, service *v1.ObjectReference, message string) {
	c.events.room(ctx)
	c.recorder.Event(service, v1.EventTypeWarning, ReasonNotAnnounced, message)
}

// Wait returns when all loops have ended.
func (c *Cloud) Wait() { c.running.Wait() }

func (c *Cloud) served(wait time.Duration) { c.metrics.served.Observe(wait.Seconds()) }

func (c *Cloud) ready() bool { return c.seeded.Load() }

// Ready tells whether addresses can be allocated.
func (c *Cloud) Ready() bool { return c.ready() }

func (c *Cloud) knows(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.allocator.Knows(string(uid))
}

func (c *Cloud) recorded(svc *v1.Service) *v1.LoadBalancerStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.allocator.Knows(string(svc.UID)) {
		return nil
	}
	return translate.Status(c.allocator.Held(string(svc.UID)))
}

// settle serves those who wait, oldest first, with all it judges every Service again, and lets the stock controller write
// what changed.
func (c *Cloud) settle(all bool) {
	type name struct{ namespace, name string }
	var changed []name
	c.mu.Lock()
	for _, id := range c.allocator.Settle(all, c.now()) {
		if namespace, service, ok := c.allocator.Name(id); ok {
			changed = append(changed, name{namespace, service})
		}
	}
	c.mu.Unlock()
	for _, service := range changed {
		c.services.enqueue(service.namespace, service.name)
	}
	if len(changed) > 0 {
		c.statusChanged.set()
	}
}

// LoadBalancer is the one interface that this provider implements.
func (c *Cloud) LoadBalancer() (cloudprovider.LoadBalancer, bool) { return c, true }

// Instances is not implemented: nodes are none of our business.
func (c *Cloud) Instances() (cloudprovider.Instances, bool) { return nil, false }

// InstancesV2 is not implemented.
func (c *Cloud) InstancesV2() (cloudprovider.InstancesV2, bool) { return nil, false }

// Zones is not implemented.
func (c *Cloud) Zones() (cloudprovider.Zones, bool) { return nil, false }

// Clusters is not implemented.
func (c *Cloud) Clusters() (cloudprovider.Clusters, bool) { return nil, false }

// Routes is not implemented.
func (c *Cloud) Routes() (cloudprovider.Routes, bool) { return nil, false }

// ProviderName is Name.
func (c *Cloud) ProviderName() string { return Name }

// HasClusterID is always true: there is no cloud in which clusters could be mistaken for each other.
func (c *Cloud) HasClusterID() bool { return true }
