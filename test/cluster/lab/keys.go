// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/kube"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/pki"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// identity is a client of the API server.
type identity struct {
	file   string
	user   string
	groups []string
}

// makeKeys makes the authority, and every certificate and kubeconfig that it signs.
func (up *creation) makeKeys() error {
	authority, err := pki.NewAuthority("cloud-provider-l2 test cluster " + up.Name)
	if err != nil {
		return err
	}
	ca, err := authority.Pair()
	if err != nil {
		return err
	}
	if err := ca.Write(up.layout.PKI(), "ca"); err != nil {
		return err
	}
	if err := up.makeServerKeys(authority); err != nil {
		return err
	}
	for _, client := range up.identities() {
		pair, err := authority.Client(client.user, client.groups...)
		if err != nil {
			return err
		}
		if err := up.writeKubeconfig(up.layout.KubeconfigOf(client.file), kube.APIServerURL(), ca, client.user, pair); err != nil {
			return err
		}
	}
	admin, err := authority.Client("admin", "system:masters")
	if err != nil {
		return err
	}
	if err := admin.Write(up.layout.PKI(), "admin"); err != nil {
		return err
	}
	if err := up.writeKubeconfig(up.Kubeconfig(), serverURL(up.state.APIPort), ca, "admin", admin); err != nil {
		return err
	}
	if up.api, err = newAPI(up.state.APIPort, ca.Certificate, admin); err != nil {
		return err
	}
	close(up.keysMade)
	return nil
}

func (up *creation) identities() []identity {
	clients := []identity{
		{"kube-controller-manager", "system:kube-controller-manager", nil},
		{"kube-scheduler", "system:kube-scheduler", nil},
		{"kube-proxy", "system:kube-proxy", nil},
	}
	for _, node := range topology.Nodes(up.state.Nodes) {
		clients = append(clients, identity{"kubelet-" + node.Name, "system:node:" + node.Name, []string{"system:nodes"}})
	}
	return clients
}

func (up *creation) makeServerKeys(authority *pki.Authority) error {
	folder := up.layout.PKI()
	server, err := authority.Server("kube-apiserver", kube.APIServerNames(), kube.APIServerAddresses())
	if err != nil {
		return err
	}
	if err := server.Write(folder, "kube-apiserver"); err != nil {
		return err
	}
	for name, groups := range map[string][]string{"kube-apiserver-kubelet-client": {"system:masters"}, kube.FrontProxyName: nil} {
		client, err := authority.Client(name, groups...)
		if err != nil {
			return err
		}
		if err := client.Write(folder, name); err != nil {
			return err
		}
	}
	for _, node := range topology.Nodes(up.state.Nodes) {
		kubelet, err := authority.Server(node.Name, []string{node.Name}, []netip.Addr{node.IPv4, node.IPv6})
		if err != nil {
			return err
		}
		if err := kubelet.Write(folder, "kubelet-"+node.Name); err != nil {
			return err
		}
	}
	tokens, err := pki.SigningKey()
	if err != nil {
		return err
	}
	return tokens.Write(folder, "service-accounts")
}

func (up *creation) writeKubeconfig(path, server string, ca pki.Pair, user string, pair pki.Pair) error {
	text, err := pki.Kubeconfig(up.Name, server, ca.Certificate, user, pair)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("storing the kubeconfig of %s: %w", user, err)
	}
	return nil
}

// api speaks to a cluster that is up.
func (c Cluster) api(s state) (*api, error) {
	read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(c.layout.PKI(), name)) }
	authority, err := read("ca.crt")
	if err != nil {
		return nil, fmt.Errorf("reading the authority's certificate: %w", err)
	}
	certificate, err := read("admin.crt")
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's certificate: %w", err)
	}
	key, err := read("admin.key")
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's key: %w", err)
	}
	return newAPI(s.APIPort, authority, pki.Pair{Certificate: certificate, Key: key})
}
