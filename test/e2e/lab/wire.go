// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpscan"
)

// lanInterface is what every host calls its end of the LAN.
const lanInterface = "eth0"

// Get fetches a page on the client host.
func (c *Cluster) Get(ctx context.Context, url string) (string, error) {
	return c.Exec(ctx, Client, c.probe(), "get", url)
}

// Answering asks the LAN, from the client host, who answers ARP for an address, and returns the names of all who do. A MAC that is
// no node's is returned as it is.
func (c *Cluster) Answering(ctx context.Context, addr netip.Addr) ([]string, error) {
	text, err := c.Exec(ctx, Client, c.probe(), "census", "--interface", lanInterface, "--target", addr.String())
	if err != nil {
		return nil, err
	}
	var answers []arpscan.Answer
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		return nil, fmt.Errorf("reading the ARP census of %s: %w", addr, err)
	}
	who := []string{}
	for _, a := range answers {
		name, err := c.hostOf(ctx, a.MAC)
		if err != nil {
			return nil, err
		}
		who = append(who, name)
	}
	slices.Sort(who)
	return who, nil
}

// Neighbour is the host that the client's own neighbour table holds for an address; empty when it holds none.
func (c *Cluster) Neighbour(ctx context.Context, addr netip.Addr) (string, error) {
	text, err := c.Exec(ctx, Client, "ip", "-j", "neighbour", "show", addr.String(), "dev", lanInterface)
	if err != nil {
		return "", err
	}
	var entries []struct {
		MAC string `json:"lladdr"`
	}
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		return "", fmt.Errorf("reading the client's neighbour table: %w in %q", err, text)
	}
	if len(entries) == 0 || entries[0].MAC == "" {
		return "", nil
	}
	return c.hostOf(ctx, entries[0].MAC)
}

// Nodes are the names of the cluster's nodes, in order.
func (c *Cluster) Nodes(ctx context.Context) ([]string, error) {
	list, err := c.API.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var nodes []string
	for _, n := range list.Items {
		nodes = append(nodes, n.Name)
	}
	slices.Sort(nodes)
	return nodes, nil
}

// hostOf names the node with a MAC.
func (c *Cluster) hostOf(ctx context.Context, mac string) (string, error) {
	c.macsLock.Lock()
	defer c.macsLock.Unlock()
	if c.macs == nil {
		nodes, err := c.Nodes(ctx)
		if err != nil {
			return "", err
		}
		macs := map[string]string{}
		for _, node := range nodes {
			m, err := c.MAC(ctx, node)
			if err != nil {
				return "", err
			}
			macs[m] = node
		}
		c.macs = macs
	}
	if node, ok := c.macs[mac]; ok {
		return node, nil
	}
	return mac, nil
}

// MAC is the hardware address of a host on the LAN.
func (c *Cluster) MAC(ctx context.Context, host string) (string, error) {
	text, err := c.Exec(ctx, host, "ip", "-j", "link", "show", "dev", lanInterface)
	if err != nil {
		return "", err
	}
	var links []struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal([]byte(text), &links); err != nil || len(links) != 1 {
		return "", fmt.Errorf("reading the MAC of %s: %w in %q", host, err, text)
	}
	return links[0].Address, nil
}
