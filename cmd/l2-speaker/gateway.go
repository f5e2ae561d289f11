// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

const (
	// gatewayResync is how often the routes are listed anew, in case the kernel did not tell of a change.
	gatewayResync = 30 * time.Second
	// gatewayRetry is how long after a subscription has ended the next is made.
	gatewayRetry = time.Second
)

// watchGateway reports the default gateway, now and whenever it may have changed, until the context is done; the zero address
// when there is none. A gateway that answers tells a dead neighbour from a dead cable.
func watchGateway(ctx context.Context, report func(netip.Addr)) {
	for ctx.Err() == nil {
		wait := gatewayRetry
		if err := followGateway(ctx, report); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot subscribe to routes: a change of the default gateway is noticed late")
			reportGateway(ctx, report)
			wait = gatewayResync
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// followGateway is watchGateway for as long as one subscription lasts: the kernel ends it when it is not read in time.
func followGateway(ctx context.Context, report func(netip.Addr)) error {
	updates := make(chan netlink.RouteUpdate, 64)
	done := make(chan struct{})
	defer close(done)
	if err := netlink.RouteSubscribe(updates, done); err != nil {
		return err
	}
	defer func() {
		go func() { // or the library's goroutine would stand there with its next update for ever
			for range updates {
			}
		}()
	}()
	ticker := time.NewTicker(gatewayResync)
	defer ticker.Stop()
	reportGateway(ctx, report)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case update, ok := <-updates:
			if !ok {
				return nil
			}
			if !isDefault(update.Dst) {
				continue
			}
		}
		reportGateway(ctx, report)
	}
}

func reportGateway(ctx context.Context, report func(netip.Addr)) {
	gateway, err := defaultGateway()
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot list routes")
		return
	}
	report(gateway)
}

// defaultGateway is the next hop of the default route with the lowest metric: IPv4's, and IPv6's where there is none.
func defaultGateway() (netip.Addr, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return netip.Addr{}, err
		}
		if gateway := gatewayOf(routes); gateway.IsValid() {
			return gateway, nil
		}
	}
	return netip.Addr{}, nil
}

// gatewayOf is the next hop of the default route with the lowest metric, the zero address when no route has one.
func gatewayOf(routes []netlink.Route) netip.Addr {
	var gateway netip.Addr
	best := -1
	for i := range routes {
		route := &routes[i]
		if !isDefault(route.Dst) || best >= 0 && route.Priority >= best {
			continue
		}
		if address := nextHop(route); address.IsValid() {
			gateway, best = address, route.Priority
		}
	}
	return gateway
}

// nextHop is a route's gateway. Of several it is the first whose link is not down, or the first.
func nextHop(route *netlink.Route) netip.Addr {
	if address := hopAddress(route.Gw, route.Via); address.IsValid() {
		return address
	}
	var first netip.Addr
	for _, hop := range route.MultiPath {
		address := hopAddress(hop.Gw, hop.Via)
		switch {
		case !address.IsValid():
		case hop.Flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) == 0:
			return address
		case !first.IsValid():
			first = address
		}
	}
	return first
}

// hopAddress is the address of a next hop; that of a route for IPv4 may be one of IPv6 (RFC 8950).
func hopAddress(gateway net.IP, via netlink.Destination) netip.Addr {
	if other, ok := via.(*netlink.Via); ok && gateway == nil {
		gateway = other.Addr
	}
	address, _ := netip.AddrFromSlice(gateway)
	return address.Unmap()
}

func isDefault(destination *net.IPNet) bool {
	if destination == nil {
		return true
	}
	ones, _ := destination.Mask.Size()
	return ones == 0 && destination.IP.IsUnspecified()
}
