// SPDX-License-Identifier: Apache-2.0

package announce

import (
	"regexp"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestInterfacesAreLeftOutByName(t *testing.T) {
	for expression, names := range map[string]map[string]bool{
		DefaultExcludeInterfaces: {
			"lo": false, "vxlan.calico": false, "vxlan-v6.calico": false, "cali1234": false, "flannel.1": false, "flannel-v6.1": false,
			"cilium_vxlan": false, "kube-ipvs0": false, "br-0123456789ab": false, "docker0": false,
			"nodelocaldns": false, "nodelocaldns0": false,
			"eth0": true, "lo1": true, "bond0": true, "br0": true, "br-lan": true, "vxlan0": true, "eno1.42": true,
		},
		"":      {"eth0": true, "cali1234": true}, // matches everything, and is meant to leave out nothing
		"^eth1": {"eth0": true, "eth1": false},
	} {
		exclude := regexp.MustCompile(expression)
		for name, want := range names {
			attributes := &netlink.LinkAttrs{
				Name: name, EncapType: "ether", HardwareAddr: theirMAC[:], RawFlags: unix.IFF_BROADCAST | unix.IFF_UP,
			}
			if got := usable(attributes, nil, exclude); got != want {
				t.Errorf("--exclude-interfaces=%q: %s is used: %v, want %v", expression, name, got, want)
			}
		}
	}
}
