// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// A world is some nodes with a real Speaker each, an API server and a LAN in memory, in virtual time.
type world struct {
	t    *testing.T
	api  *apiServer
	vips map[netip.Addr]plan.VIP
	// noGateway: there is none on the LAN; filtered: its switch drops multicast. Set before nodes start.
	noGateway, filtered bool
	// withdraw is --on-api-loss=withdraw.
	withdraw bool

	mu     sync.Mutex
	nodes  map[string]*node
	buried []*node // crashed ones that another of the same name has replaced
	// answers is, for each VIP, what a client on the LAN saw: who answered, from when on.
	answers map[netip.Addr][]answer
}

type answer struct {
	at  time.Time
	who []string
}

// node is one host of the world, until it crashes; the fields after mu say what works, and who answers.
type node struct {
	world   *world
	name    string
	speaker *Speaker
	stop    context.CancelFunc
	ended   chan error

	mu        sync.Mutex
	cut       bool // no frame leaves or arrives
	muted     bool // the switch drops its heartbeats
	dead      bool
	killed    bool // dead is the speaker only: the node's own address still answers
	apiAway   bool
	answering map[netip.Addr]bool
	// withdrawals counts how often it stopped answering for a VIP.
	withdrawals int
}

var gatewayAddress = netip.MustParseAddr("192.168.1.1")

// inWorld runs a test in virtual time with nodes named node-1 and so on, and VIPs that all of them may announce.
func inWorld(t *testing.T, nodes, vips int, test func(*world)) {
	t.Helper()
	inWorldWith(t, nodes, vips, func(*world) {}, test)
}

// inWorldWith is inWorld on a LAN that change has changed before anybody starts.
func inWorldWith(t *testing.T, nodes, vips int, change, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, api: newAPIServer(), nodes: map[string]*node{}, vips: map[netip.Addr]plan.VIP{},
			answers: map[netip.Addr][]answer{},
		}
		for i := range vips {
			address := netip.AddrFrom4([4]byte{192, 168, 1, byte(200 + i)})
			w.vips[address] = plan.VIP{
				Addr: address, Pool: "pool", Nodes: map[string]plan.Verdict{},
				Services: []types.NamespacedName{{Namespace: "default", Name: fmt.Sprintf("service-%d", i)}},
			}
		}
		for i := range nodes {
			name := fmt.Sprintf("node-%d", i+1)
			for _, vip := range w.vips {
				vip.Nodes[name] = plan.Verdict{Eligible: true, InSubnet: true}
			}
			w.nodes[name] = &node{world: w, name: name, answering: map[netip.Addr]bool{}}
		}
		change(w)
		for _, node := range w.all() {
			node.start()
		}
		test(w)
		for _, node := range w.all() {
			node.crash()
		}
		for _, node := range append(w.buried, w.all()...) {
			<-node.ended
		}
		w.api.close()
		synctest.Wait()
	})
}

// all nodes, in the order of their names.
func (w *world) all() []*node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Values(w.nodes), func(a, b *node) int { return strings.Compare(a.name, b.name) })
}

func (w *world) node(name string) *node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nodes[name]
}

func (w *world) vip(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 1, byte(200 + i)}) }

// pass lets virtual time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (n *node) start() {
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), ktesting.NewLogger(n.world.t, ktesting.NewConfig())))
	n.ended = make(chan error, 1)
	n.stop = cancel
	n.speaker = NewSpeaker(ctx, Config{
		Node: n.name, Namespace: "metallb-system", Timing: DefaultTiming(), Leases: n.world.api.client(n), Sessions: n.world.api.client(n),
		Announcer: n, Sender: n, Observer: n, LeaveWithin: 20 * time.Second, Writes: 16,
		WithdrawOnAPILoss: n.world.withdraw,
	})
	key, err := membership.NewKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		n.world.t.Fatal(err)
	}
	n.speaker.SetKey(key)
	n.speaker.SetInterfaces(n.interfaces())
	n.speaker.SetGateway(gatewayAddress)
	n.speaker.SetPlan(n.world.plan())
	go func() { n.ended <- n.speaker.Run(ctx) }()
}

func (w *world) plan() map[netip.Addr]plan.VIP {
	w.mu.Lock()
	defer w.mu.Unlock()
	copied := map[netip.Addr]plan.VIP{}
	for address, vip := range w.vips {
		vip.Nodes = maps.Clone(vip.Nodes)
		copied[address] = vip
	}
	return copied
}

// exclude makes a node ineligible for all VIPs, as a cordon does, and tells everybody.
func (w *world) exclude(name string, excluded bool) {
	w.mu.Lock()
	for _, vip := range w.vips {
		vip.Nodes[name] = plan.Verdict{Eligible: !excluded, InSubnet: true, Reason: "Cordoned"}
	}
	w.mu.Unlock()
	for _, node := range w.all() {
		node.speaker.SetPlan(w.plan())
	}
}

// crash ends a node at once: nothing of it reaches anybody any more.
func (n *node) crash() {
	n.mu.Lock()
	n.dead, n.answering = true, map[netip.Addr]bool{}
	n.mu.Unlock()
	n.world.note()
	n.stop()
}

// kill ends a node's speaker at once, as SIGKILL does; the node lives on.
func (n *node) kill() {
	n.mu.Lock()
	n.killed = true
	n.mu.Unlock()
	n.crash()
}

// restart starts a node that crashed.
func (n *node) restart() {
	w := n.world
	w.mu.Lock()
	w.buried = append(w.buried, n)
	fresh := &node{world: w, name: n.name, answering: map[netip.Addr]bool{}}
	w.nodes[n.name] = fresh
	w.mu.Unlock()
	fresh.start()
}

// leave stops a node's speaker as SIGTERM does, and waits for it.
func (n *node) leave() error {
	n.stop()
	err := <-n.ended
	n.ended <- err
	n.mu.Lock()
	n.dead = true
	n.mu.Unlock()
	return err
}

// setCable pulls a node's cable, or plugs it in: unlike setCut, the node sees its carrier go.
func (n *node) setCable(pulled bool) {
	n.setCut(pulled)
	if pulled {
		n.speaker.SetInterfaces(nil)
	} else {
		n.speaker.SetInterfaces(n.interfaces())
	}
}

func (n *node) interfaces() []LocalInterface {
	return []LocalInterface{{Name: "eth0", MAC: n.mac(), Addresses: []netip.Prefix{netip.PrefixFrom(n.address(), 24)}}}
}

// setLANCut drops a node's frames on the LAN; the API server is on another network, and stays.
func (n *node) setLANCut(cut bool) {
	n.mu.Lock()
	n.cut = cut
	n.mu.Unlock()
	n.world.note()
}

// setCut drops a node's frames at the switch, to and from the LAN and the API server.
func (n *node) setCut(cut bool) {
	n.mu.Lock()
	n.cut, n.apiAway = cut, cut
	n.mu.Unlock()
	n.world.note()
}

func (n *node) setAPIAway(away bool) {
	n.mu.Lock()
	n.apiAway = away
	n.mu.Unlock()
}

func (n *node) mac() string { return "02:00:00:00:00:0" + n.name[len(n.name)-1:] }

func (n *node) address() netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, 1, 10 + n.name[len(n.name)-1] - '0'})
}

func (n *node) onLAN() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut && !n.dead
}

func (n *node) reachesAPI() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.apiAway && !n.dead
}

// The rest of node is its Announcer, Sender and Observer.

func (n *node) Announce(vip netip.Addr, _ []string) {
	n.mu.Lock()
	dead := n.dead
	if !dead {
		n.answering[vip] = true
	}
	n.mu.Unlock()
	if dead {
		return
	}
	n.world.note()
	n.Reannounce(vip)
}

func (n *node) Withdraw(vip netip.Addr) {
	n.mu.Lock()
	delete(n.answering, vip)
	n.mu.Unlock()
	n.world.note()
}

func (n *node) Reannounce(vip netip.Addr) { n.tell(vip) }

func (n *node) tell(vip netip.Addr) {
	if !n.onLAN() {
		return
	}
	for _, other := range n.world.all() {
		if other != n && other.onLAN() {
			other.speaker.Sight(vip, n.mac(), "eth0")
		}
	}
}

func (n *node) Probe(vip netip.Addr, _ []string) {
	if !n.onLAN() {
		return
	}
	for _, other := range n.world.all() {
		other.mu.Lock()
		answers := other != n && !other.cut && !other.dead && other.answering[vip]
		other.mu.Unlock()
		if answers {
			n.speaker.Sight(vip, other.mac(), "eth0")
		}
	}
}

func (n *node) Ask(address netip.Addr) {
	if !n.onLAN() {
		return
	}
	if address == gatewayAddress && !n.world.noGateway {
		n.speaker.Sight(address, "02:00:00:00:00:ff", "eth0")
	}
	for _, other := range n.world.all() {
		other.mu.Lock()
		answers := !other.cut && (!other.dead || other.killed) && other.address() == address
		other.mu.Unlock()
		if answers {
			n.speaker.Sight(address, other.mac(), "eth0")
		}
	}
}

func (n *node) Watch(netip.Addr)   {}
func (n *node) Unwatch(netip.Addr) {}

func (n *node) Send(datagram []byte) {
	n.mu.Lock()
	muted := n.muted || n.world.filtered
	n.mu.Unlock()
	if !n.onLAN() || muted {
		return
	}
	for _, other := range n.world.all() {
		if other != n && other.onLAN() {
			other.speaker.Hear(datagram, time.Now())
		}
	}
}

func (n *node) Announced(plan.VIP) {}

func (n *node) Withdrawn(netip.Addr) {
	n.mu.Lock()
	n.withdrawals++
	n.mu.Unlock()
}

func (n *node) Conflict(plan.VIP, Sighting)      {}
func (n *node) MembersHeard(int)                 {}
func (n *node) Sessions(map[string]plan.Speaker) {}

// note writes down who answers a client on the LAN from now on.
func (w *world) note() {
	nodes := w.all()
	w.mu.Lock()
	defer w.mu.Unlock()
	for address := range w.vips {
		var who []string
		for _, node := range nodes {
			node.mu.Lock()
			if node.answering[address] && !node.cut && !node.dead {
				who = append(who, node.name)
			}
			node.mu.Unlock()
		}
		seen := w.answers[address]
		if len(seen) == 0 || !slices.Equal(seen[len(seen)-1].who, who) {
			w.answers[address] = append(seen, answer{at: time.Now(), who: who})
		}
	}
}

// gap is the longest time since from in which nobody answered for any VIP, and overlap the longest in which more than one did.
func (w *world) gap(from time.Time) (gap, overlap time.Duration) {
	w.note()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, seen := range w.answers {
		for i, now := range seen {
			until := time.Now()
			if i+1 < len(seen) {
				until = seen[i+1].at
			}
			if until.Before(from) {
				continue
			}
			lasted := until.Sub(later(now.at, from))
			switch {
			case len(now.who) == 0:
				gap = max(gap, lasted)
			case len(now.who) > 1:
				overlap = max(overlap, lasted)
			}
		}
	}
	return gap, overlap
}

// who answers a client for a VIP now.
func (w *world) who(address netip.Addr) []string {
	w.note()
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.answers[address]
	return seen[len(seen)-1].who
}

// settled fails the test unless each VIP has one node that answers, which its Lease names; it returns who that is.
func (w *world) settled() map[netip.Addr]string {
	w.t.Helper()
	holders := map[netip.Addr]string{}
	for address := range w.vips {
		who := w.who(address)
		if len(who) != 1 {
			w.t.Fatalf("%s: answered by %v, want one node", address, who)
		}
		lease := w.api.lease(names.VIPLease(address))
		if lease == nil || holder(lease) != who[0] {
			w.t.Fatalf("%s: answered by %s, but its Lease says %v", address, who[0], lease)
		}
		holders[address] = who[0]
	}
	return holders
}

// apiServer keeps Leases with compare-and-swap and watches, each request taking a few milliseconds.
type apiServer struct {
	mu       sync.Mutex
	version  uint64
	leases   map[string]*coordinationv1.Lease
	watchers map[*watcher]bool
	writes   int
	reads    int
	closed   chan struct{}
	work     sync.WaitGroup
}

func newAPIServer() *apiServer {
	return &apiServer{leases: map[string]*coordinationv1.Lease{}, watchers: map[*watcher]bool{}, closed: make(chan struct{})}
}

// close ends the watches and waits for them.
func (a *apiServer) close() {
	close(a.closed)
	a.work.Wait()
}

// delete removes a Lease, as kubectl does.
func (a *apiServer) delete(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	gone := a.leases[name]
	delete(a.leases, name)
	a.version++
	gone.ResourceVersion = strconv.FormatUint(a.version, 10)
	for each := range a.watchers {
		each.push(watch.Event{Type: watch.Deleted, Object: gone.DeepCopy()})
	}
}

func (a *apiServer) lease(name string) *coordinationv1.Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.leases[name].DeepCopy()
}

func (a *apiServer) counts() (writes, reads int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.writes, a.reads
}

func (a *apiServer) client(n *node) coordinationv1client.LeasesGetter { return leasesOf{a, n} }

type leasesOf struct {
	api  *apiServer
	node *node
}

func (l leasesOf) Leases(string) coordinationv1client.LeaseInterface {
	return leaseClient{api: l.api, node: l.node}
}

type leaseClient struct {
	coordinationv1client.LeaseInterface // what is not written here is not used
	api                                 *apiServer
	node                                *node
}

var errAway = errors.New("API server away")

// travel is a request's way to the API server.
func (c leaseClient) travel(ctx context.Context) error {
	time.Sleep(2 * time.Millisecond)
	if !c.node.reachesAPI() {
		<-ctx.Done()
		return fmt.Errorf("%w: %w", errAway, ctx.Err())
	}
	return ctx.Err()
}

// back is the answer's way.
func (c leaseClient) back(ctx context.Context, lease *coordinationv1.Lease, err error) (*coordinationv1.Lease, error) {
	if away := c.travel(ctx); away != nil {
		return nil, away
	}
	return lease.DeepCopy(), err
}

func (c leaseClient) Get(ctx context.Context, name string, _ metav1.GetOptions) (*coordinationv1.Lease, error) {
	if err := c.travel(ctx); err != nil {
		return nil, err
	}
	c.api.mu.Lock()
	c.api.reads++
	lease := c.api.leases[name].DeepCopy()
	c.api.mu.Unlock()
	if lease == nil {
		return c.back(ctx, nil, apierrors.NewNotFound(coordinationv1.Resource("leases"), name))
	}
	return c.back(ctx, lease, nil)
}

func (c leaseClient) Create(ctx context.Context, lease *coordinationv1.Lease, _ metav1.CreateOptions) (*coordinationv1.Lease, error) {
	if err := c.travel(ctx); err != nil {
		return nil, err
	}
	stored, err := c.api.put(lease, true)
	return c.back(ctx, stored, err)
}

func (c leaseClient) Update(ctx context.Context, lease *coordinationv1.Lease, _ metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	if err := c.travel(ctx); err != nil {
		return nil, err
	}
	stored, err := c.api.put(lease, false)
	return c.back(ctx, stored, err)
}

func (a *apiServer) put(lease *coordinationv1.Lease, create bool) (*coordinationv1.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writes++
	have := a.leases[lease.Name]
	switch {
	case create && have != nil:
		return nil, apierrors.NewAlreadyExists(coordinationv1.Resource("leases"), lease.Name)
	case !create && (have == nil || have.UID != lease.UID || have.ResourceVersion != lease.ResourceVersion):
		return nil, apierrors.NewConflict(coordinationv1.Resource("leases"), lease.Name, errors.New("changed"))
	}
	a.version++
	stored := lease.DeepCopy()
	stored.ResourceVersion = strconv.FormatUint(a.version, 10)
	if create {
		stored.UID = types.UID("uid-" + stored.ResourceVersion)
	}
	a.leases[lease.Name] = stored
	kind := watch.Modified
	if create {
		kind = watch.Added
	}
	for each := range a.watchers {
		each.push(watch.Event{Type: kind, Object: stored.DeepCopy()})
	}
	return stored, nil
}

func (c leaseClient) List(ctx context.Context, _ metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	if err := c.travel(ctx); err != nil {
		return nil, err
	}
	c.api.mu.Lock()
	defer c.api.mu.Unlock()
	c.api.reads++
	list := &coordinationv1.LeaseList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatUint(c.api.version, 10)}}
	for _, lease := range c.api.leases {
		list.Items = append(list.Items, *lease.DeepCopy())
	}
	return list, nil
}

func (c leaseClient) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	if options.SendInitialEvents != nil {
		return nil, apierrors.NewInvalid(coordinationv1.SchemeGroupVersion.WithKind("Lease").GroupKind(), "", nil)
	}
	if err := c.travel(ctx); err != nil {
		return nil, err
	}
	w := &watcher{api: c.api, node: c.node, events: make(chan watch.Event), wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.api.mu.Lock()
	since, _ := strconv.ParseUint(options.ResourceVersion, 10, 64)
	for _, lease := range c.api.leases {
		if version, _ := strconv.ParseUint(lease.ResourceVersion, 10, 64); version > since {
			w.queue = append(w.queue, watch.Event{Type: watch.Modified, Object: lease.DeepCopy()})
		}
	}
	slices.SortFunc(w.queue, func(a, b watch.Event) int {
		return int(parseVersion(a.Object.(*coordinationv1.Lease).ResourceVersion)) - int(parseVersion(b.Object.(*coordinationv1.Lease).ResourceVersion))
	})
	c.api.watchers[w] = true
	c.api.mu.Unlock()
	c.api.work.Go(w.deliver)
	return w, nil
}

// watcher delivers in order, a few milliseconds late, and not at all while its node cannot reach the API server.
type watcher struct {
	api    *apiServer
	node   *node
	events chan watch.Event
	wake   chan struct{}
	done   chan struct{}
	once   sync.Once

	mu    sync.Mutex
	queue []watch.Event
}

func (w *watcher) push(event watch.Event) {
	w.mu.Lock()
	w.queue = append(w.queue, event)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) deliver() {
	defer close(w.events)
	for {
		w.mu.Lock()
		queue := w.queue
		w.queue = nil
		w.mu.Unlock()
		for _, event := range queue {
			time.Sleep(3 * time.Millisecond)
			for !w.node.reachesAPI() {
				select {
				case <-w.done:
					return
				case <-w.api.closed:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
			select {
			case w.events <- event:
			case <-w.done:
				return
			case <-w.api.closed:
				return
			}
		}
		select {
		case <-w.wake:
		case <-w.done:
			return
		case <-w.api.closed:
			return
		}
	}
}

func (w *watcher) Stop() {
	w.once.Do(func() {
		w.api.mu.Lock()
		delete(w.api.watchers, w)
		w.api.mu.Unlock()
		close(w.done)
	})
}

func (w *watcher) ResultChan() <-chan watch.Event { return w.events }
