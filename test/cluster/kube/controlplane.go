// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
)

// Names that others ask for.
const (
	APIServerName = "kube-apiserver"
	// FrontProxyName is the API server's identity where it passes requests on to another, for somebody else.
	FrontProxyName = "front-proxy-client"

	etcdAddress = "http://127.0.0.1:2379"
	issuer      = "https://kubernetes.default.svc"
)

// APIServerNames and APIServerAddresses are what the API server's certificate is for.
func APIServerNames() []string {
	return []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"}
}

func APIServerAddresses() []netip.Addr {
	host := topology.ControlPlaneHost()
	return []netip.Addr{
		host.IPv4, host.IPv6, topology.APIService4, topology.APIService6,
		netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback(),
	}
}

// APIServerURL is the API server as the hosts on the LAN reach it.
func APIServerURL() string {
	return fmt.Sprintf("https://%s:%d", topology.ControlPlaneHost().IPv4, topology.APIPort)
}

// Etcd keeps nothing that has to outlive the computer, so it does not wait for the disk.
func (l Layout) Etcd() machine.Process {
	return l.program(topology.ControlPlane, "etcd",
		"--name=cp",
		"--data-dir="+filepath.Join(l.Host(topology.ControlPlane), "etcd"),
		"--listen-client-urls="+etcdAddress,
		"--advertise-client-urls="+etcdAddress,
		"--listen-peer-urls=http://127.0.0.1:2380",
		"--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=cp=http://127.0.0.1:2380",
		"--unsafe-no-fsync",
		"--log-level=warn",
	)
}

func (l Layout) APIServer() machine.Process {
	return l.program(topology.ControlPlane, APIServerName,
		"--etcd-servers="+etcdAddress,
		"--bind-address=::",
		fmt.Sprintf("--secure-port=%d", topology.APIPort),
		"--advertise-address="+topology.ControlPlaneHost().IPv4.String(),
		"--service-cluster-ip-range="+dual(topology.Services4, topology.Services6),
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--client-ca-file="+l.certificate("ca"),
		"--tls-cert-file="+l.certificate("kube-apiserver"),
		"--tls-private-key-file="+l.key("kube-apiserver"),
		"--kubelet-certificate-authority="+l.certificate("ca"),
		"--kubelet-client-certificate="+l.certificate("kube-apiserver-kubelet-client"),
		"--kubelet-client-key="+l.key("kube-apiserver-kubelet-client"),
		"--requestheader-client-ca-file="+l.certificate("ca"),
		"--requestheader-allowed-names="+FrontProxyName,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+l.certificate(FrontProxyName),
		"--proxy-client-key-file="+l.key(FrontProxyName),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer="+issuer,
		"--service-account-key-file="+l.certificate("service-accounts"),
		"--service-account-signing-key-file="+l.key("service-accounts"),
		// No kube-proxy runs here: Services of the API server's own (webhooks) are reached by their endpoints.
		"--enable-aggregator-routing=true",
		"--audit-policy-file="+l.auditPolicy(),
		"--audit-log-path="+l.AuditLog(),
		"--audit-log-maxsize=1024",
	)
}

// ControllerManager has no load balancers of its own since 1.31: its --cloud-provider is not set.
func (l Layout) ControllerManager() machine.Process {
	const name = "kube-controller-manager"
	return l.program(topology.ControlPlane, name,
		"--kubeconfig="+l.KubeconfigOf(name),
		"--authentication-kubeconfig="+l.KubeconfigOf(name),
		"--authorization-kubeconfig="+l.KubeconfigOf(name),
		"--bind-address=127.0.0.1",
		"--use-service-account-credentials=true",
		"--root-ca-file="+l.certificate("ca"),
		"--service-account-private-key-file="+l.key("service-accounts"),
		"--cluster-signing-cert-file="+l.certificate("ca"),
		"--cluster-signing-key-file="+l.key("ca"),
		"--leader-elect=false",
		// The default of 20 makes its start, which creates an account for each controller, take seconds more.
		"--kube-api-qps=200",
		"--kube-api-burst=400",
	)
}

func (l Layout) Scheduler() machine.Process {
	const name = "kube-scheduler"
	return l.program(topology.ControlPlane, name,
		"--kubeconfig="+l.KubeconfigOf(name),
		"--authentication-kubeconfig="+l.KubeconfigOf(name),
		"--authorization-kubeconfig="+l.KubeconfigOf(name),
		"--bind-address=127.0.0.1",
		"--leader-elect=false",
	)
}

// dual writes a dual-stack value.
func dual[T fmt.Stringer](ipv4, ipv6 T) string { return ipv4.String() + "," + ipv6.String() }
