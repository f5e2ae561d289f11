// SPDX-License-Identifier: Apache-2.0

package election

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// A world is some nodes with a real Speaker each, an API server and a LAN in memory, in virtual time. Everything in it but the
// speakers can fail.
type world struct {
	t      *testing.T
	api    *apiServer
	chance *chance
	timing Timing
	// noGateway: there is none on the LAN; filtered: its switch drops multicast. Set before nodes start.
	noGateway, filtered bool
	// withdraw is --on-api-loss=withdraw.
	withdraw bool
	// metrics of all speakers together; nil counts nothing.
	metrics *Metrics
	// silent keeps the speakers' logs out of the test's.
	silent bool
	// logged is told what a node's speaker says at Info; nil: the test's log has it.
	logged func(node, line string)
	// coarse spares large worlds what costs much and matters little: announcements reach only who answers for the VIP too.
	coarse bool

	mu     sync.Mutex
	nodes  []*node // in the order of their numbers
	buried []*node // crashed ones that another of the same name has replaced
	vips   map[netip.Addr]plan.VIP
	// gatewayDown: the gateway does not answer at present.
	gatewayDown bool
	// loseAnswers is how many answers to probes get lost from now on.
	loseAnswers int
	// strangers answer for a VIP that is not theirs: hosts that are no speakers, by VIP, with their hardware address.
	strangers map[netip.Addr]string
	// history is, for each VIP, what clients on the LAN saw, from when on.
	history map[netip.Addr][]moment
	// moved is what users were told of VIPs that went from one node to another.
	moved []string
	law   lawbook
}

// node is one host of the world, until it crashes. The world's lock guards what follows ended.
type node struct {
	world   *world
	name    string
	number  int
	speaker *Speaker
	stop    context.CancelFunc
	ended   chan error

	weather weather
	dead    bool
	killed  bool // dead is the speaker only: the node's own address still answers
	// stoodUntil: the process does not run before; stuckUntil: its decision loop does not turn before.
	stoodUntil, stuckUntil time.Time
	answering              map[netip.Addr]*burst
	watched                map[netip.Addr]int
	// withdrawals counts how often it stopped answering for a VIP, conflicts how often it told of a stranger.
	withdrawals, conflicts int
	// firsts counts the VIPs that it announced as the first of all.
	firsts int
	// members are the hardware addresses of speakers, as the Announcer was last told.
	members []string
	// sound is since when nothing has been wrong with it; zero while something is.
	sound time.Time
}

// weather is what happens to what a node sends and receives.
type weather struct {
	// side of the LAN: frames pass between hosts on the same side; clients and the gateway are on side 0.
	side int
	cut  bool // no frame leaves or arrives
	// muted and deaf: the switch drops its own heartbeats, or those that it should hear.
	muted, deaf bool
	// loss is the part of all frames that get lost on their way to this node, copies that of heartbeats which come
	// twice, and jitter by how much they are late, each by itself.
	loss, copies float64
	jitter       time.Duration
	// apiAway: requests and watches hang; apiDown: they are refused.
	apiAway, apiDown bool
	// slow is by how much a request and its answer are late, at most; loseRequest and loseAnswer are the parts that get lost, and
	// late that of requests which arrive after whoever sent them has given up.
	slow                          time.Duration
	loseRequest, loseAnswer, late float64
	// watchStands: nothing comes through the watch.
	watchStands bool
}

// chance is a source of randomness for all goroutines of a world.
type chance struct {
	mu     sync.Mutex
	source *rand.Rand
}

func newChance(seed int64) *chance { return &chance{source: rand.New(rand.NewPCG(uint64(seed), 0))} }

func (c *chance) below(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Duration(c.source.Int64N(int64(d)))
}

func (c *chance) between(low, high time.Duration) time.Duration { return low + c.below(high-low) }

func (c *chance) happens(part float64) bool {
	if part <= 0 {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.source.Float64() < part
}

func (c *chance) intN(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.source.IntN(n)
}

var gatewayAddress = netip.MustParseAddr("192.168.1.1")

// The last of client-go's error handlers waits when the last error of the process was less than a millisecond ago. Each world begins its own time anew, and
// that error may lie years ahead of it: a watch whose request fails would stand for so long.
func init() { utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:len(utilruntime.ErrorHandlers)-1] }

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
			t: t, chance: newChance(1), timing: DefaultTiming(), vips: map[netip.Addr]plan.VIP{},
			strangers: map[netip.Addr]string{}, history: map[netip.Addr][]moment{}, law: newLawbook(),
		}
		w.api = newAPIServer(w.chance)
		w.api.written = w.recordWrite
		verdicts := map[string]plan.Verdict{}
		for i := range nodes {
			fresh := w.newNode(fmt.Sprintf("node-%d", i+1), i+1)
			w.nodes = append(w.nodes, fresh)
			verdicts[fresh.name] = plan.Verdict{Eligible: true, InSubnet: true}
		}
		for i := range vips {
			w.vips[w.vip(i)] = plan.VIP{
				Addr: w.vip(i), Pool: "pool", Nodes: verdicts,
				Services: []types.NamespacedName{{Namespace: "default", Name: fmt.Sprintf("service-%d", i)}},
			}
		}
		change(w)
		for _, node := range w.all() {
			node.start()
		}
		test(w)
		w.lawful()
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

func (w *world) newNode(name string, number int) *node {
	return &node{world: w, name: name, number: number, answering: map[netip.Addr]*burst{}, watched: map[netip.Addr]int{}, sound: time.Now()}
}

// all nodes, in the order of their numbers.
func (w *world) all() []*node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.nodes)
}

func (w *world) node(name string) *node {
	for _, node := range w.all() {
		if node.name == name {
			return node
		}
	}
	w.t.Fatalf("there is no node %s", name)
	return nil
}

func (w *world) vip(i int) netip.Addr {
	if i < 50 {
		return netip.AddrFrom4([4]byte{192, 168, 1, byte(200 + i)})
	}
	return netip.AddrFrom4([4]byte{192, 168, byte(2 + i/250), byte(1 + i%250)})
}

// pass lets virtual time pass.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (n *node) start() {
	w := n.world
	logger := logr.Discard()
	switch {
	case w.logged != nil:
		logger = funcr.NewJSON(func(line string) { w.logged(n.name, line) }, funcr.Options{})
	case !w.silent:
		logger = ktesting.NewLogger(w.t, ktesting.NewConfig())
	}
	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), logger))
	n.ended = make(chan error, 1)
	n.stop = cancel
	speaker := NewSpeaker(ctx, Config{
		Node: n.name, Namespace: "metallb-system", Timing: w.timing, Leases: w.api.client(n), Sessions: w.api.client(n), Doubts: w.api.client(n),
		Announcer: n, Sender: n, Observer: n, LeaveWithin: 20 * time.Second, Writes: 16, Metrics: w.metrics,
		WithdrawOnAPILoss: w.withdraw,
		Members: func(macs []string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			n.members = slices.Sorted(slices.Values(macs))
		},
	})
	key, err := membership.NewKey([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		w.t.Fatal(err)
	}
	speaker.SetKey(key)
	speaker.SetInterfaces(n.interfaces())
	speaker.SetGateway(gatewayAddress)
	speaker.SetPlan(w.plan())
	w.mu.Lock()
	n.speaker = speaker
	w.mu.Unlock()
	go func() { n.ended <- speaker.Run(ctx) }()
}

func (w *world) plan() map[netip.Addr]plan.VIP {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.vips)
}

// tellPlan brings the plan to all.
func (w *world) tellPlan() {
	for _, node := range w.all() {
		node.speaker.SetPlan(w.plan())
	}
}

// exclude makes a node ineligible for all VIPs, as a cordon does, and tells everybody.
func (w *world) exclude(name string, excluded bool) {
	w.excludeFrom(slices.Collect(maps.Keys(w.plan())), name, excluded)
}

// excludeFrom does so for some VIPs only, as the loss of a Service's local endpoint does.
func (w *world) excludeFrom(vips []netip.Addr, name string, excluded bool) {
	w.mu.Lock()
	changed := map[uintptr]map[string]plan.Verdict{} // VIPs that share their verdicts go on sharing them
	for _, address := range vips {
		vip := w.vips[address]
		kind := reflect.ValueOf(vip.Nodes).Pointer()
		if changed[kind] == nil {
			changed[kind] = maps.Clone(vip.Nodes)
			changed[kind][name] = plan.Verdict{Eligible: true, InSubnet: true}
			if excluded {
				changed[kind][name] = plan.Verdict{InSubnet: true, Reason: plan.Cordoned}
			}
		}
		vip.Nodes = changed[kind]
		w.vips[address] = vip
	}
	w.mu.Unlock()
	w.tellPlan()
}

// crash ends a node at once: nothing of it reaches anybody any more.
func (n *node) crash() {
	w := n.world
	w.mu.Lock()
	n.dead, n.sound = true, time.Time{}
	n.answering = map[netip.Addr]*burst{}
	w.mu.Unlock()
	w.note()
	n.stop()
}

// kill ends a node's speaker at once, as SIGKILL does; the node lives on.
func (n *node) kill() {
	n.world.mu.Lock()
	n.killed = true
	n.world.mu.Unlock()
	n.crash()
}

// restart starts a node that crashed, or whose speaker ended.
func (n *node) restart() *node {
	w := n.world
	fresh := w.newNode(n.name, n.number)
	w.mu.Lock()
	fresh.weather = n.weather
	w.buried = append(w.buried, n)
	w.nodes[slices.Index(w.nodes, n)] = fresh
	w.mu.Unlock()
	fresh.start()
	return fresh
}

// leave stops a node's speaker as SIGTERM does, and waits for it.
func (n *node) leave() error {
	n.stop()
	err := <-n.ended
	n.ended <- err
	n.world.mu.Lock()
	n.dead, n.killed, n.sound = true, true, time.Time{}
	n.world.mu.Unlock()
	return err
}

// change changes a node's weather, and writes down what that changes for clients.
func (n *node) change(change func(*weather)) {
	w := n.world
	w.mu.Lock()
	change(&n.weather)
	calm := n.weather == weather{}
	switch {
	case !calm || n.dead:
		n.sound = time.Time{}
	case n.sound.IsZero():
		n.sound = time.Now()
	}
	w.mu.Unlock()
	w.note()
}

// setCable pulls a node's cable, or plugs it in: unlike setCut, the node sees its carrier go.
func (n *node) setCable(pulled bool) {
	n.setCut(pulled)
	if pulled {
		n.speaker.SetInterfaces(nil)
		return
	}
	n.speaker.SetInterfaces(n.interfaces())
	if n.speaker.Fresh() { // as the announcer does
		n.world.mu.Lock()
		answering := slices.Collect(maps.Keys(n.answering))
		n.world.mu.Unlock()
		for _, vip := range answering {
			n.say(vip)
		}
	}
}

func (n *node) interfaces() []LocalInterface {
	return []LocalInterface{{Name: "eth0", MAC: n.mac(), Addresses: []netip.Prefix{netip.PrefixFrom(n.address(), 16)}}}
}

// setLANCut drops a node's frames on the LAN; the API server is on another network, and stays.
func (n *node) setLANCut(cut bool) { n.change(func(w *weather) { w.cut = cut }) }

// setCut drops a node's frames at the switch, to and from the LAN and the API server.
func (n *node) setCut(cut bool) { n.change(func(w *weather) { w.cut, w.apiAway = cut, cut }) }

func (n *node) setAPIAway(away bool) { n.change(func(w *weather) { w.apiAway = away }) }

// stand makes a node's process stand still, as SIGSTOP or a hypervisor does: it neither sends nor answers nor listens.
func (n *node) stand(d time.Duration) { n.halt(d, true) }

// stick makes only the decision loop stand still.
func (n *node) stick(d time.Duration) { n.halt(d, false) }

func (n *node) halt(d time.Duration, process bool) {
	w := n.world
	w.mu.Lock()
	n.stuckUntil = time.Now().Add(d)
	if process {
		n.stoodUntil = n.stuckUntil
	}
	n.sound = time.Time{}
	w.mu.Unlock()
	w.note()
	time.AfterFunc(d, func() {
		w.mu.Lock()
		if n.sound.IsZero() && !n.dead && n.weather == (weather{}) && !n.stuckUntil.After(time.Now()) {
			n.sound = time.Now()
		}
		w.mu.Unlock()
		w.note()
	})
}

// waitWhileStanding returns when the process runs. Everything that a process does passes here.
func (n *node) waitWhileStanding() {
	for {
		n.world.mu.Lock()
		left := time.Until(n.stoodUntil)
		n.world.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

func (n *node) mac() string { return fmt.Sprintf("02:00:00:00:%02x:%02x", n.number>>8, n.number&0xff) }

func (n *node) address() netip.Addr { return netip.AddrFrom4([4]byte{192, 168, 0, byte(n.number)}) }

func (n *node) reachesAPI() bool {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return !n.weather.apiAway && !n.dead
}
