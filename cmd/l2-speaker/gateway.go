// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"k8s.io/klog/v2"
)

// gatewayResync is how often the routes are listed anew, in case the kernel dropped a notification.
const gatewayResync = 30 * time.Second

// watchGateway reports the IPv4 default gateway, now and whenever it changes, until the context is done; the zero address
// when there is none. A gateway that answers tells a dead neighbour from a dead cable.
func watchGateway(ctx context.Context, report func(netip.Addr)) {
	updates := make(chan netlink.RouteUpdate, 64)
	log := klog.FromContext(ctx)
	if err := netlink.RouteSubscribe(updates, ctx.Done()); err != nil {
		log.Error(err, "Cannot subscribe to routes: a change of the default gateway is noticed late")
		updates = nil
	}
	ticker := time.NewTicker(gatewayResync)
	defer ticker.Stop()
	for {
		gateway, err := defaultGateway()
		if err != nil {
			log.Error(err, "Cannot list routes")
		} else {
			report(gateway)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case _, ok := <-updates:
			if !ok {
				updates = nil
			}
		}
	}
}

// defaultGateway is the next hop of the default route with the lowest metric.
func defaultGateway() (netip.Addr, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return netip.Addr{}, err
	}
	var gateway netip.Addr
	best := -1
	for _, route := range routes {
		if !isDefault(route.Dst) || route.Gw == nil {
			continue
		}
		address, ok := netip.AddrFromSlice(route.Gw.To4())
		if ok && (best < 0 || route.Priority < best) {
			gateway, best = address, route.Priority
		}
	}
	return gateway, nil
}

func isDefault(destination *net.IPNet) bool {
	if destination == nil {
		return true
	}
	ones, _ := destination.Mask.Size()
	return ones == 0 && destination.IP.IsUnspecified()
}
