// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// MaxCandidates is how many candidates of a VIP are listed; its holder is listed in addition. Others have their turn only when
// all of these are live and yet refuse.
const MaxCandidates = 8

// Candidates orders the nodes that may announce a VIP and are live, best first, at most MaxCandidates and the holder. Held says
// who holds what now; it may be nil. The same input has the same answer on every node.
//
// Nodes with a larger preferred score come before others, then those with an address in the VIP's subnet; the nodes that are
// best in this are the VIP's top tier. Among them rendezvous hashing decides, with bounded loads: no node comes first for
// more than a fair share of the VIPs (the mean rounded up, or a tenth above the mean) while another of the tier has room. Where a tier
// is too small for its VIPs, the share of its nodes is larger.
//
// A holder of the top tier stays first unless it holds more than its share. So a node that leaves moves its own VIPs and no
// others, and one that returns is offered what is too much for those that filled in for it: the VIPs that are the least theirs by
// the hash. Without held, some others move too when a node comes or goes, because shares change.
//
// The second candidate is the one that would come first if the first were gone: the VIPs of a node that dies or leaves are
// spread as evenly as others, without a second move.
func Candidates(vips map[netip.Addr]VIP, live func(node string) bool, held map[netip.Addr]string) map[netip.Addr][]string {
	s := newSpread(vips, live, held)
	s.measure()
	s.keep()
	s.place()
	return s.orders()
}

// spread is one computation of Candidates. Nodes are meant by their index in names.
type spread struct {
	names []string
	seeds []uint64
	// seats are the VIPs that have a candidate, by address.
	seats []*seat
	// load counts for how many VIPs a node comes first; limit is the fair share, and shares are what each node may keep.
	load   []int
	limit  int
	shares []int
	// weights is scratch space, by node.
	weights []uint64
}

// seat is a VIP and who comes first for it.
type seat struct {
	addr  netip.Addr
	seed  uint64
	tiers *tiers
	// holder and first are -1 when there is none.
	holder, first int32
}

// tiers are the candidates of a kind of VIP, best tier first, by name within a tier.
type tiers struct {
	nodes []int32
	// top is how many of them are in the first tier, ends where each tier ends.
	top  int
	ends []int
}

func newSpread(vips map[netip.Addr]VIP, live func(string) bool, held map[netip.Addr]string) *spread {
	s := &spread{seats: make([]*seat, 0, len(vips))}
	index, liveness := map[string]int32{}, map[string]bool{}
	// VIPs of a kind share their map of verdicts: by its identity, what is common to them is worked out once.
	eligible := map[uintptr][]candidate{}
	for _, vip := range vips {
		kind := reflect.ValueOf(vip.Nodes).Pointer()
		if _, known := eligible[kind]; known {
			continue
		}
		var list []candidate
		for name, verdict := range vip.Nodes {
			if !verdict.Eligible {
				continue
			}
			alive, asked := liveness[name]
			if !asked {
				alive = live(name)
				liveness[name] = alive
			}
			if alive {
				list = append(list, candidate{name: name, score: verdict.Score, inSubnet: verdict.InSubnet})
			}
		}
		eligible[kind] = list
	}
	for _, name := range slices.Sorted(maps.Keys(liveness)) {
		if liveness[name] {
			index[name] = int32(len(s.names))
			s.names = append(s.names, name)
			s.seeds = append(s.seeds, hashText(name))
		}
	}
	kinds := make(map[uintptr]*tiers, len(eligible))
	for kind, list := range eligible {
		kinds[kind] = newTiers(list, index)
	}
	for addr, vip := range vips {
		each := &seat{addr: addr, seed: hashAddr(addr), tiers: kinds[reflect.ValueOf(vip.Nodes).Pointer()], holder: -1, first: -1}
		if len(each.tiers.nodes) == 0 {
			continue
		}
		if holder, ok := index[held[addr]]; ok && vip.Nodes[held[addr]].Eligible {
			each.holder = holder
		}
		s.seats = append(s.seats, each)
	}
	slices.SortFunc(s.seats, func(a, b *seat) int { return a.addr.Compare(b.addr) })
	s.load = make([]int, len(s.names))
	s.weights = make([]uint64, len(s.names))
	s.limit = share(len(s.seats), len(s.names))
	s.shares = slices.Repeat([]int{s.limit}, len(s.names))
	return s
}

// candidate is a live node that is eligible for a kind of VIP.
type candidate struct {
	name     string
	score    int32
	inSubnet bool
}

// better orders candidates by tier.
func better(a, b candidate) int {
	return cmp.Or(cmp.Compare(b.score, a.score), compareBool(b.inSubnet, a.inSubnet))
}

func newTiers(candidates []candidate, index map[string]int32) *tiers {
	slices.SortFunc(candidates, func(a, b candidate) int { return cmp.Or(better(a, b), strings.Compare(a.name, b.name)) })
	t := &tiers{}
	for i, each := range candidates {
		t.nodes = append(t.nodes, index[each.name])
		if i+1 == len(candidates) || better(each, candidates[i+1]) != 0 {
			t.ends = append(t.ends, i+1)
		}
	}
	if len(t.ends) > 0 {
		t.top = t.ends[0]
	}
	return t
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// share is how many of so many VIPs one of so many nodes may come first for. It is never less than the mean, so that all
// find a place, and never more than a tenth above it, but for rounding.
func share(vips, nodes int) int {
	if nodes == 0 {
		return 0
	}
	return max((vips+nodes-1)/nodes, vips*11/(nodes*10))
}

func (t *tiers) first() []int32 { return t.nodes[:t.top] }

// measure finds the shares of nodes whose tiers are too small for the fair one. It does not ask who holds what: a share that changed with every VIP that moves
// would make others move to and fro.
func (s *spread) measure() {
	if !slices.ContainsFunc(s.seats, func(each *seat) bool { return each.tiers.top < len(s.names) }) {
		return
	}
	empty := *s
	empty.load, empty.seats = make([]int, len(s.names)), make([]*seat, 0, len(s.seats))
	for _, each := range s.seats {
		empty.seats = append(empty.seats, &seat{addr: each.addr, seed: each.seed, tiers: each.tiers, holder: -1, first: -1})
	}
	empty.place()
}

// keep leaves VIPs with holders of their top tier, up to the share of each holder: those that have fewest other candidates,
// then those that are most its own by the hash.
func (s *spread) keep() {
	byHolder := make([][]*seat, len(s.names))
	for _, each := range s.seats {
		if each.holder >= 0 && slices.Contains(each.tiers.first(), each.holder) {
			byHolder[each.holder] = append(byHolder[each.holder], each)
		}
	}
	for holder, seats := range byHolder {
		if share := s.shares[holder]; len(seats) > share {
			ranks := make(map[*seat]int, len(seats))
			for _, each := range seats {
				ranks[each] = s.rank(each, int32(holder))
			}
			slices.SortFunc(seats, func(a, b *seat) int {
				return cmp.Or(cmp.Compare(a.tiers.top, b.tiers.top), cmp.Compare(ranks[a], ranks[b]), a.addr.Compare(b.addr))
			})
			seats = seats[:share]
		}
		for _, each := range seats {
			s.seat(each, int32(holder))
		}
	}
}

func (s *spread) seat(each *seat, node int32) {
	each.first = node
	s.load[node]++
}

// rank is how many of the top tier come before the node by the hash.
func (s *spread) rank(each *seat, node int32) int {
	own, rank := s.weight(each, node), 0
	for _, other := range each.tiers.first() {
		if s.weight(each, other) > own {
			rank++
		}
	}
	return rank
}

func (s *spread) weight(each *seat, node int32) uint64 { return mix(each.seed ^ s.seeds[node]) }

// place gives every VIP that is left to the best node of its top tier that has room, those with the fewest candidates
// first. Where a whole tier is full the share is too small for it: what is left is spread over those tiers with a larger one.
func (s *spread) place() {
	var left []*seat
	for _, each := range s.seats {
		if each.first < 0 {
			left = append(left, each)
		}
	}
	slices.SortStableFunc(left, func(a, b *seat) int { return cmp.Compare(a.tiers.top, b.tiers.top) })
	limit := s.limit
	for len(left) > 0 {
		full := left[:0:0]
		for _, each := range left {
			if node := s.best(each, func(node int32) bool { return s.load[node] < limit }); node >= 0 {
				s.seat(each, node)
			} else {
				full = append(full, each)
			}
		}
		if len(full) > 0 {
			limit = max(limit+1, s.shareOf(full))
			for _, each := range full {
				for _, node := range each.tiers.first() {
					s.shares[node] = limit
				}
			}
		}
		left = full
	}
}

// best is the holder, or else the node of the top tier that comes first by the hash, of those that have room; -1 if none has.
func (s *spread) best(each *seat, room func(int32) bool) int32 {
	best, most := int32(-1), uint64(0)
	for _, node := range each.tiers.first() {
		if !room(node) {
			continue
		}
		if node == each.holder {
			return node
		}
		if weight := s.weight(each, node); best < 0 || weight > most {
			best, most = node, weight
		}
	}
	return best
}

// shareOf is the share of the nodes that the given VIPs could go to, with what these have already.
func (s *spread) shareOf(left []*seat) int {
	seen := make([]bool, len(s.names))
	done := map[*tiers]bool{}
	vips, nodes := len(left), 0
	for _, each := range left {
		if done[each.tiers] {
			continue
		}
		done[each.tiers] = true
		for _, node := range each.tiers.first() {
			if !seen[node] {
				seen[node] = true
				nodes++
				vips += s.load[node]
			}
		}
	}
	return share(vips, nodes)
}

// orders lists the candidates of every VIP.
func (s *spread) orders() map[netip.Addr][]string {
	orders := make(map[netip.Addr][]string, len(s.seats))
	// inherited counts, by a node and another, what the other takes over if the node goes.
	inherited := make([][]int, len(s.names))
	limit := share(len(s.seats), len(s.names)-1)
	room := make([]string, 0, len(s.seats)*min(MaxCandidates+1, len(s.names)))
	picked := make([]int32, 0, MaxCandidates+1)
	for _, each := range s.seats {
		if inherited[each.first] == nil {
			inherited[each.first] = make([]int, len(s.names))
		}
		picked = s.order(each, inherited[each.first], limit, picked[:0])
		start := len(room)
		for _, node := range picked {
			room = append(room, s.names[node])
		}
		orders[each.addr] = room[start:len(room):len(room)]
	}
	return orders
}

// order lists the first, the one that takes over from it, then the others tier by tier and by the hash.
func (s *spread) order(each *seat, inherited []int, limit int, picked []int32) []int32 {
	picked = append(picked, each.first)
	begin := 0
	for _, end := range each.tiers.ends {
		tier := each.tiers.nodes[begin:end]
		begin = end
		from := len(picked)
		for _, node := range tier {
			if node != each.first {
				picked = s.insert(each, picked, from, node)
			}
		}
		if from == 1 && len(picked) > 1 {
			s.promote(each, tier, inherited, limit, picked[1:])
		}
		if len(picked) >= MaxCandidates {
			break
		}
	}
	if each.holder >= 0 && !slices.Contains(picked, each.holder) {
		picked = append(picked, each.holder)
	}
	return picked
}

// insert puts a node into picked, which is in the order of the hash after from, and keeps it within MaxCandidates.
func (s *spread) insert(each *seat, picked []int32, from int, node int32) []int32 {
	weight := s.weight(each, node)
	s.weights[node] = weight
	if len(picked) == MaxCandidates {
		if s.weights[picked[len(picked)-1]] >= weight {
			return picked
		}
		picked = picked[:len(picked)-1]
	}
	at := len(picked)
	for at > from && s.weights[picked[at-1]] < weight {
		at--
	}
	return slices.Insert(picked, at, node)
}

// promote brings the node that takes over to the front of rest: the first by the hash that would still have room.
func (s *spread) promote(each *seat, tier []int32, inherited []int, limit int, rest []int32) {
	heir, most := int32(-1), uint64(0)
	for _, node := range tier {
		if node != each.first && s.load[node]+inherited[node] < limit && (heir < 0 || s.weights[node] > most) {
			heir, most = node, s.weights[node]
		}
	}
	if heir < 0 {
		heir = rest[0]
	}
	inherited[heir]++
	at := slices.Index(rest, heir)
	if at < 0 { // beyond the listed ones: it takes the last place's
		at = len(rest) - 1
	}
	copy(rest[1:at+1], rest[:at])
	rest[0] = heir
}

// hashText and hashAddr are FNV-1a; mix makes every bit of the result depend on every bit of both.
func hashText(text string) uint64 { return hashBytes([]byte(text)) }

func hashAddr(addr netip.Addr) uint64 {
	bytes := addr.As16()
	return hashBytes(bytes[:])
}

func hashBytes(data []byte) uint64 {
	hash := uint64(14695981039346656037)
	for _, b := range data {
		hash = (hash ^ uint64(b)) * 1099511628211
	}
	return mix(hash)
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
