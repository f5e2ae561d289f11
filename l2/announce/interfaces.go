// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// DefaultExcludeInterfaces leaves out what container runtimes, CNI plugins, kube-proxy and hypervisors make on a node. It
// goes by name and not by type: a node that is itself a container has a veth as its LAN interface.
const DefaultExcludeInterfaces = `^(lo|ovs-system|br-[0-9a-f]{12}` +
	`|(nodelocaldns|docker|podman|nerdctl|cbr|cni|veth|cali|vxlan(-v6)?\.calico|flannel|cilium_|lxc|lxd|weave|antrea|ovn-k8s|genev_sys|kube-ipvs|kube-bridge|tunl|dummy|virbr|vnet).*)$`

const (
	relistRetry    = time.Second           // after a failure
	relistInterval = 20 * time.Millisecond // at most so often
	choresInterval = 10 * time.Second
)

// excludes says whether an interface of that name is left out. The empty expression, which matches everything, leaves out nothing.
func excludes(exclude *regexp.Regexp, name string) bool {
	return exclude.String() != "" && exclude.MatchString(name)
}

// usable says whether VIPs can be announced on an interface, up or not. master is its master, if it has one.
func usable(attributes *netlink.LinkAttrs, master netlink.Link, exclude *regexp.Regexp) bool {
	const wrongFlags = unix.IFF_LOOPBACK | unix.IFF_POINTOPOINT | unix.IFF_NOARP
	switch {
	case excludes(exclude, attributes.Name),
		attributes.EncapType != "ether", len(attributes.HardwareAddr) != len(MAC{}),
		attributes.RawFlags&wrongFlags != 0, attributes.RawFlags&unix.IFF_BROADCAST == 0:
		return false
	case attributes.MasterIndex != 0:
		// The bond or bridge answers for its members. A VRF is a matter of routing only.
		return master != nil && master.Type() == "vrf"
	}
	return true
}

// followInterfaces keeps the links as the kernel has them, until ctx is done.
func (a *Announcer) followInterfaces(ctx context.Context) error {
	for ctx.Err() == nil {
		news, err := subscribe()
		if err != nil {
			a.log.Error(err, "Following the interfaces failed; trying again")
			pause(ctx, relistRetry)
			continue
		}
		err = a.follow(ctx, news)
		news.close()
		if err != nil {
			// The kernel drops news that is not read in time. The lists, which are read next, have what was missed, but for what has gone
			// and come back.
			a.log.V(2).Info("Interface changes were missed; listing again", "reason", err)
			for _, l := range *a.links.Load() {
				l.lostIPv6 = true
			}
			pause(ctx, relistInterval)
		}
	}
	return nil
}

// follow lists the interfaces, and again whenever there is news of one that matters, until the news breaks off.
// News is only ever a reason to look: what is there is what the lists say.
func (a *Announcer) follow(ctx context.Context, news *subscription) error {
	list := time.NewTimer(0)
	defer list.Stop()
	narrow := time.NewTimer(narrowDelay)
	defer narrow.Stop()
	chores := time.NewTicker(choresInterval)
	defer chores.Stop()

	var listed time.Time
	var complaint string
	soon := func() { list.Reset(time.Until(listed.Add(relistInterval))) }
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-news.broken:
			return err
		case update, ok := <-news.links:
			if !ok {
				return errors.New("the link subscription ended")
			}
			if a.concerns(update) {
				soon()
			}
		case update, ok := <-news.addresses:
			if !ok {
				return errors.New("the address subscription ended")
			}
			if l := a.linkOf(update.LinkIndex); l != nil {
				if !update.NewAddr && update.LinkAddress.IP.To4() == nil {
					l.lostIPv6 = true
				}
				soon()
			}
		case <-a.relist:
			list.Reset(relistRetry)
		case <-list.C:
			listed = time.Now()
			if err := a.listInterfaces(); err != nil {
				if complaint != err.Error() {
					a.log.Error(err, "Not every interface can be used; trying again")
				}
				complaint = err.Error()
				list.Reset(relistRetry)
			} else {
				complaint = ""
			}
		case <-a.narrow:
			narrow.Reset(narrowDelay)
		case <-narrow.C:
			a.narrowFilters()
		case <-a.renew:
			a.renewGroups()
		case <-chores.C:
			for _, l := range *a.links.Load() {
				l.countLost(a.metrics)
			}
			a.leaveProbed()
		}
	}
}

// concerns says whether news of a link can change what is announced on. Pods that come and go do not.
func (a *Announcer) concerns(update netlink.LinkUpdate) bool {
	return a.linkOf(int(update.Index)) != nil || !excludes(a.config.ExcludeInterfaces, update.Attrs().Name)
}

func (a *Announcer) linkOf(index int) *link {
	for _, l := range *a.links.Load() {
		if l.index == index {
			return l
		}
	}
	return nil
}

// listInterfaces makes the links agree with what the kernel lists. Run's goroutine calls it.
func (a *Announcer) listInterfaces() error {
	wanted, err := a.usableInterfaces()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()

	var failures []error
	var links []*link
	changed := false
	var leaving sync.WaitGroup
	for _, old := range *a.links.Load() {
		if wanted[old.index] != nil && !old.failed.Load() {
			continue
		}
		leaving.Go(old.close)
		changed = true
		a.log.Info("Interface left", "interface", old.state.Load().name)
	}
	leaving.Wait()
	for index, state := range wanted {
		l := a.linkOf(index)
		if l == nil || l.failed.Load() {
			if l, err = a.openLink(index, state); err != nil {
				failures = append(failures, err)
				continue
			}
			changed = true
			a.log.Info("Interface joined", "interface", state.name, "mac", state.mac, "up", state.up)
			links = append(links, l)
			continue
		}
		links = append(links, l)
	}
	slices.SortFunc(links, func(x, y *link) int { return cmp.Compare(x.state.Load().name, y.state.Load().name) })
	ownMACs := make([]MAC, 0, len(wanted))
	for _, state := range wanted {
		ownMACs = append(ownMACs, state.mac)
	}
	// Before the first packet with a new MAC can come back to us.
	a.ownMACs.Store(&ownMACs)
	known := *a.links.Load()
	a.links.Store(&links)
	for _, l := range links {
		changed = a.update(l, wanted[l.index], !slices.Contains(known, l)) || changed
	}
	if changed {
		signal(a.narrow)
		signal(a.changes)
	}
	return errors.Join(failures...)
}

// update gives a link its new state, announces the VIPs there when neighbours must learn something, and says whether
// anything is different. The caller holds mu.
func (a *Announcer) update(l *link, state *linkState, isNew bool) (changed bool) {
	old := l.state.Swap(state)
	returned := state.up && (isNew || !old.up)
	moved := state.mac != old.mac || state.name != old.name
	if isNew || state.name != old.name {
		for addr, v := range a.vips.all() {
			a.joinOrLeave(l, addr, !isNew && v.on(old.name), v.on(state.name))
		}
	}
	switch {
	case returned && a.config.AnnounceOnReturn(), state.up && !returned && moved:
		a.announceOn(l)
	}
	regained := state.hasIPv6() && (l.lostIPv6 || !old.hasIPv6())
	if state.hasIPv6() {
		l.lostIPv6 = false
	}
	if !isNew && (returned || regained) {
		l.forgetGroups()
		signal(a.renew)
	}
	if !isNew && (moved || state.up != old.up) {
		a.log.Info("Interface changed", "interface", state.name, "mac", state.mac, "up", state.up)
	}
	return moved || state.up != old.up || !slices.Equal(state.prefixes, old.prefixes)
}

// renewGroups joins some of the groups again that the kernel may have forgotten, and leaves word when there are more: thousands take
// seconds, in which the news and whoever announces must not wait. Run calls it.
func (a *Announcer) renewGroups() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range *a.links.Load() {
		more, err := l.renewGroups()
		if err != nil {
			a.log.Error(err, "Questions for some VIPs may not be heard", "interface", l.state.Load().name)
		}
		if more {
			signal(a.renew)
		}
	}
}

// closeLinks closes everything, for good.
func (a *Announcer) closeLinks() {
	a.mu.Lock()
	defer a.mu.Unlock()
	var leaving sync.WaitGroup
	for _, l := range *a.links.Load() {
		leaving.Go(l.close)
	}
	leaving.Wait()
	a.links.Store(&[]*link{})
	signal(a.changes)
}

// usableInterfaces is every interface VIPs can be announced on, by index.
func (a *Announcer) usableInterfaces() (map[int]*linkState, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	byIndex := make(map[int]netlink.Link, len(links))
	for _, link := range links {
		byIndex[link.Attrs().Index] = link
	}
	wanted := map[int]*linkState{}
	for _, link := range links {
		attributes := link.Attrs()
		if usable(attributes, byIndex[attributes.MasterIndex], a.config.ExcludeInterfaces) {
			wanted[attributes.Index] = &linkState{
				name: attributes.Name,
				mac:  MAC(attributes.HardwareAddr),
				up:   isUp(attributes),
			}
		}
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	for _, address := range addresses {
		// What duplicate address detection has not passed yet must not be spoken from (RFC 4862 section 5.4).
		if address.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
			continue
		}
		if state := wanted[address.LinkIndex]; state != nil {
			if prefix, ok := toPrefix(address.IPNet); ok {
				state.prefixes = append(state.prefixes, prefix)
			}
		}
	}
	for _, state := range wanted {
		slices.SortFunc(state.prefixes, netip.Prefix.Compare)
	}
	return wanted, nil
}

// isUp says whether packets get through: the interface is up, has a carrier, and nothing it waits for is missing
// (IFF_RUNNING is operstate up or unknown; some drivers never tell).
func isUp(attributes *netlink.LinkAttrs) bool {
	const up = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	return attributes.RawFlags&up == up
}

func toPrefix(network *net.IPNet) (netip.Prefix, bool) {
	if network == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(network.IP)
	ones, _ := network.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}

// subscription is the kernel's news of links and addresses.
type subscription struct {
	links     chan netlink.LinkUpdate
	addresses chan netlink.AddrUpdate
	broken    chan error
	done      chan struct{}
}

func subscribe() (*subscription, error) {
	s := &subscription{
		links:     make(chan netlink.LinkUpdate),
		addresses: make(chan netlink.AddrUpdate),
		broken:    make(chan error, 1),
		done:      make(chan struct{}),
	}
	onError := func(err error) {
		select {
		case s.broken <- err:
		default:
		}
	}
	if err := netlink.LinkSubscribeWithOptions(s.links, s.done, netlink.LinkSubscribeOptions{ErrorCallback: onError}); err != nil {
		return nil, fmt.Errorf("subscribing to links: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(s.addresses, s.done, netlink.AddrSubscribeOptions{ErrorCallback: onError}); err != nil {
		close(s.addresses)
		s.close()
		return nil, fmt.Errorf("subscribing to addresses: %w", err)
	}
	return s, nil
}

// close ends the subscription; the library's goroutines end when they have closed the channels.
func (s *subscription) close() {
	close(s.done)
	for range s.links {
	}
	for range s.addresses {
	}
}
