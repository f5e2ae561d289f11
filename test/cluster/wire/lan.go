// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// bridgeName is the switch; its ports are named after the hosts they lead to.
const bridgeName = "br0"

var (
	// A plain switch: it has no address, filters nothing and floods multicast.
	switchSettings = []setting{
		{"ipv6/conf/all/disable_ipv6", "1"}, {"ipv6/conf/default/disable_ipv6", "1"},
		{"bridge/bridge-nf-call-iptables", "0"}, {"bridge/bridge-nf-call-ip6tables", "0"}, {"bridge/bridge-nf-call-arptables", "0"},
	}
	// Addresses are given by hand, so nobody needs to be asked for them or whether they are free.
	hostSettings = []setting{
		{"ipv6/conf/all/accept_dad", "0"}, {"ipv6/conf/default/accept_dad", "0"},
		{"ipv6/conf/all/accept_ra", "0"}, {"ipv6/conf/default/accept_ra", "0"},
	}
	routerSettings = []setting{
		{"ipv4/ip_forward", "1"}, {"ipv6/conf/all/forwarding", "1"}, {"ipv6/conf/default/forwarding", "1"},
		{"ipv4/conf/all/rp_filter", "0"}, {"ipv4/conf/default/rp_filter", "0"},
	}
)

// Up makes the switch, plugs every host into it and gives each its addresses and routes.
func Up(cluster string, nodes int) error {
	hosts := topology.Hosts(nodes)
	if err := addNamespace(cluster, topology.LAN); err != nil {
		return err
	}
	for _, host := range hosts {
		if err := addNamespace(cluster, host.Name); err != nil {
			return err
		}
	}
	if err := configure(cluster, topology.LAN, switchSettings); err != nil {
		return err
	}
	if err := addSwitch(cluster); err != nil {
		return err
	}
	var group errgroup.Group
	for _, host := range hosts {
		group.Go(func() error {
			if err := plugIn(cluster, host, nodes); err != nil {
				return fmt.Errorf("plugging %s into the LAN: %w", host.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func addSwitch(cluster string) error {
	lan, err := handle(cluster, topology.LAN)
	if err != nil {
		return err
	}
	defer lan.Close()
	if err := setUp(lan, "lo"); err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = bridgeName
	snooping := false
	if err := lan.LinkAdd(&netlink.Bridge{LinkAttrs: attributes, MulticastSnooping: &snooping}); err != nil {
		return fmt.Errorf("making the switch, a bridge: %w%s", err, missingModule(err, "bridge"))
	}
	if err := setUp(lan, bridgeName); err != nil {
		return err
	}
	return addFilter(cluster)
}

// plugIn lays the cable, a veth pair, and configures the host's end of it.
func plugIn(cluster string, host topology.Host, nodes int) error {
	settings := hostSettings
	if host.Name != topology.Client {
		settings = append(settings[:len(settings):len(settings)], routerSettings...)
	}
	if err := configure(cluster, host.Name, settings); err != nil {
		return err
	}
	if err := layCable(cluster, host); err != nil {
		return err
	}
	end, err := handle(cluster, host.Name)
	if err != nil {
		return err
	}
	defer end.Close()
	if err := setUp(end, "lo"); err != nil {
		return err
	}
	link, err := end.LinkByName(topology.Interface)
	if err != nil {
		return fmt.Errorf("finding %s: %w", topology.Interface, err)
	}
	for _, prefix := range []netip.Prefix{
		netip.PrefixFrom(host.IPv4, topology.LAN4.Bits()), netip.PrefixFrom(host.IPv6, topology.LAN6.Bits()),
	} {
		address := &netlink.Addr{IPNet: ipNet(prefix)}
		if prefix.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD
		}
		if err := end.AddrAdd(link, address); err != nil {
			return fmt.Errorf("giving it %s: %w", prefix, err)
		}
	}
	if err := setUp(end, topology.Interface); err != nil {
		return err
	}
	if err := addRoutes(end, link, host, nodes); err != nil {
		return err
	}
	if host.Node == 0 {
		return nil
	}
	if _, err := nft(cluster, host.Name, masquerade); err != nil {
		return fmt.Errorf("letting pods speak as their node: %w", err)
	}
	return nil
}

// masquerade lets pods reach what is not in the cluster, which knows no way back to them, under their node's address.
var masquerade = fmt.Sprintf(`table inet pods {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname %[1]q ip saddr %[2]s ip daddr != %[2]s masquerade
		oifname %[1]q ip6 saddr %[3]s ip6 daddr != %[3]s masquerade
	}
}
`, topology.Interface, topology.Pods4, topology.Pods6)

func layCable(cluster string, host topology.Host) error {
	lan, err := handle(cluster, topology.LAN)
	if err != nil {
		return err
	}
	defer lan.Close()
	far, err := netns.GetFromPath(Path(cluster, host.Name))
	if err != nil {
		return fmt.Errorf("opening its network namespace: %w", err)
	}
	defer far.Close()
	bridge, err := lan.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("finding the switch: %w", err)
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = host.Name
	attributes.MasterIndex = bridge.Attrs().Index
	cable := &netlink.Veth{
		LinkAttrs:        attributes,
		PeerName:         topology.Interface,
		PeerHardwareAddr: host.MAC,
		PeerNamespace:    netlink.NsFd(far),
	}
	if err := lan.LinkAdd(cable); err != nil {
		return fmt.Errorf("making a veth pair: %w%s", err, missingModule(err, "veth"))
	}
	return setUp(lan, host.Name)
}

// addRoutes sends everything to the gateway, and pods' packets to the node they live on. Clients are not told where
// pods are: they know Services by their addresses on the LAN only.
func addRoutes(end *netlink.Handle, link netlink.Link, host topology.Host, nodes int) error {
	if host.Name == topology.Gateway {
		return nil // it leads nowhere
	}
	gateway := topology.GatewayHost()
	routes := []netlink.Route{
		{Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: gateway.IPv4.AsSlice()},
		{Dst: ipNet(netip.MustParsePrefix("::/0")), Gw: gateway.IPv6.AsSlice()},
	}
	for _, node := range topology.Nodes(nodes) {
		if host.Name != topology.Client && host.Name != node.Name {
			routes = append(routes,
				netlink.Route{Dst: ipNet(node.PodRange4()), Gw: node.IPv4.AsSlice()},
				netlink.Route{Dst: ipNet(node.PodRange6()), Gw: node.IPv6.AsSlice()})
		}
	}
	for _, route := range routes {
		route.LinkIndex = link.Attrs().Index
		if err := end.RouteAdd(&route); err != nil {
			return fmt.Errorf("adding the route to %s: %w", route.Dst, err)
		}
	}
	return nil
}

func setUp(handle *netlink.Handle, name string) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return fmt.Errorf("finding interface %s: %w", name, err)
	}
	if err := handle.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting interface %s up: %w", name, err)
	}
	return nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen()),
	}
}

func missingModule(err error, kind string) string {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Sprintf(" (this kernel has no %s interfaces: load the module %q, or use a kernel that has it)", kind, kind)
	}
	return ""
}
