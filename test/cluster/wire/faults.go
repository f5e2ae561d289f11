// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// Set names of the switch's filter: the ports whose frames it drops.
const (
	isolatedFromLAN = "isolated_from_lan"
	isolatedFromAPI = "isolated_from_api"
	splitOff        = "split_off"
)

// faultSets are all of them.
var faultSets = []string{isolatedFromLAN, splitOff, isolatedFromAPI}

// filter drops every frame from and to the ports of the first set, those between a port of the second and the control plane's
// port, and those between the ports of the third and all others: whatever they carry, ARP and neighbour discovery included.
var filter = fmt.Sprintf(`table bridge switch {
	set %[1]s { type ifname; }
	set %[2]s { type ifname; }
	set %[4]s { type ifname; }
	chain forward {
		type filter hook forward priority 0;
		iifname @%[1]s drop
		oifname @%[1]s drop
		iifname @%[2]s oifname %[3]q drop
		iifname %[3]q oifname @%[2]s drop
		iifname @%[4]s oifname != @%[4]s drop
		iifname != @%[4]s oifname @%[4]s drop
	}
}
`, isolatedFromLAN, isolatedFromAPI, topology.ControlPlane, splitOff)

func addFilter(cluster string) error {
	if _, err := nft(cluster, topology.LAN, filter); err != nil {
		return fmt.Errorf("giving the switch a filter: %w", err)
	}
	return nil
}

// Cut pulls a host's cable: the far side sees its carrier go.
func Cut(cluster, host string) error {
	return withPort(cluster, host, func(port *port) error { return port.handle.LinkSetDown(port.link) })
}

// IsolateFromLAN makes the switch drop a host's frames; the host's carrier stays.
func IsolateFromLAN(cluster, host string) error {
	return isolate(cluster, host, isolatedFromLAN)
}

// IsolateFromAPI makes the switch drop the frames between a host and the control plane.
func IsolateFromAPI(cluster, host string) error {
	return isolate(cluster, host, isolatedFromAPI)
}

// Split parts the LAN in two: the hosts hear each other and nobody else, the rest hears the rest. Every carrier stays.
// Hosts split off before stay on their side.
func Split(cluster string, hosts ...string) error {
	for _, host := range hosts {
		if err := isolate(cluster, host, splitOff); err != nil {
			return err
		}
	}
	return nil
}

func isolate(cluster, host, set string) error {
	return withPort(cluster, host, func(*port) error {
		_, err := nft(cluster, topology.LAN, fmt.Sprintf("add element bridge switch %s { %q }\n", set, host))
		return err
	})
}

// Heal mends whatever was done to a host.
func Heal(cluster, host string) error {
	return withPort(cluster, host, func(port *port) error {
		for _, set := range faultSets {
			// Deleting what is not there is an error, adding what is there is not.
			command := fmt.Sprintf("add element bridge switch %[1]s { %[2]q }\ndelete element bridge switch %[1]s { %[2]q }\n", set, host)
			if _, err := nft(cluster, topology.LAN, command); err != nil {
				return err
			}
		}
		return port.handle.LinkSetUp(port.link)
	})
}

// Condition of a host's cable.
type Condition string

const (
	Connected       Condition = "connected"
	CableCut        Condition = "cable cut"
	IsolatedFromLAN Condition = "isolated from the LAN"
	IsolatedFromAPI Condition = "isolated from the API server"
	SplitOff        Condition = "split off from the rest of the LAN"
)

// Conditions asks the kernel how every host is connected.
func Conditions(cluster string) (map[string]Condition, error) {
	lan, err := openSwitch(cluster)
	if err != nil {
		return nil, err
	}
	defer lan.Close()
	links, err := lan.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing the switch's ports: %w", err)
	}
	listed, err := nft(cluster, topology.LAN, "", "-j", "list", "table", "bridge", "switch")
	if err != nil {
		return nil, err
	}
	isolated, err := parseSets(listed)
	if err != nil {
		return nil, err
	}
	conditions := map[string]Condition{}
	for _, link := range links {
		host := link.Attrs().Name
		switch {
		case link.Type() != "veth":
			continue
		case link.Attrs().RawFlags&unix.IFF_UP == 0:
			conditions[host] = CableCut
		case slices.Contains(isolated[isolatedFromLAN], host):
			conditions[host] = IsolatedFromLAN
		case slices.Contains(isolated[splitOff], host):
			conditions[host] = SplitOff
		case slices.Contains(isolated[isolatedFromAPI], host):
			conditions[host] = IsolatedFromAPI
		default:
			conditions[host] = Connected
		}
	}
	return conditions, nil
}

// parseSets reads the elements of every set from what `nft -j list table` writes.
func parseSets(listed []byte) (map[string][]string, error) {
	var answer struct {
		Objects []struct {
			Set *struct {
				Name     string   `json:"name"`
				Elements []string `json:"elem"`
			} `json:"set"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(listed, &answer); err != nil {
		return nil, fmt.Errorf("reading what nft lists: %w", err)
	}
	sets := map[string][]string{}
	for _, object := range answer.Objects {
		if object.Set != nil {
			sets[object.Set.Name] = object.Set.Elements
		}
	}
	return sets, nil
}

// nft runs commands from its standard input, or those among the arguments.
func nft(cluster, host, commands string, arguments ...string) ([]byte, error) {
	if len(arguments) == 0 {
		arguments = []string{"-f", "-"}
	}
	var output, complaints bytes.Buffer
	err := Enter(cluster, host, func() error {
		command := exec.Command("nft", arguments...)
		command.Stdin = strings.NewReader(commands)
		command.Stdout, command.Stderr = &output, &complaints
		return command.Run()
	})
	if err != nil {
		return nil, fmt.Errorf("nft on %s: %w: %s", host, err, strings.TrimSpace(complaints.String()))
	}
	return output.Bytes(), nil
}

// port is the switch's side of a host's cable.
type port struct {
	handle *netlink.Handle
	link   netlink.Link
}

func withPort(cluster, host string, f func(*port) error) error {
	lan, err := openSwitch(cluster)
	if err != nil {
		return err
	}
	defer lan.Close()
	found, err := lan.LinkByName(host)
	if err != nil || host == bridgeName || host == "lo" {
		return fmt.Errorf("no host %q is plugged into the LAN of cluster %q: %w", host, cluster, err)
	}
	if err := f(&port{handle: lan, link: found}); err != nil {
		return fmt.Errorf("at the switch's port of %s: %w", host, err)
	}
	return nil
}

func openSwitch(cluster string) (*netlink.Handle, error) {
	lan, err := handle(cluster, topology.LAN)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cluster %q is not up; `cluster up --name %s` starts it", cluster, cluster)
	}
	return lan, err
}
