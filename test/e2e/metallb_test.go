// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// recorded are the addresses that MetalLB gave the Services. None of them is what a controller would give that begins anew.
var recorded = map[string]netip.Addr{
	"shop":       netip.MustParseAddr("192.168.1.241"),
	"asked":      netip.MustParseAddr("192.168.1.245"),
	"shared-tcp": netip.MustParseAddr("192.168.1.246"),
	"shared-udp": netip.MustParseAddr("192.168.1.246"),
	"internal":   netip.MustParseAddr("192.168.1.203"),
}

// metallb takes the product away and puts in its place what MetalLB leaves in a cluster.
func (m *migration) metallb() {
	m.t.Helper()
	installed := filepath.Join(m.files, "installed")
	shop := lab.Backend{Namespace: namespace, Name: "shop", Replicas: 2, Annotations: map[string]string{"metallb.io/ip-allocated-from-pool": "lan"}}
	remove := func(ctx context.Context, path string) error {
		_, err := m.Kubectl(ctx, "delete", "-f", path, "--ignore-not-found", "--timeout=90s")
		return err
	}
	// Services that have the finalizer go when the product is back.
	removeServices := func(ctx context.Context) error {
		return errors.Join(m.Delete(ctx, shop.YAML()), remove(ctx, filepath.Join(m.files, "services.yaml")))
	}
	m.later(removeServices)
	m.later(func(ctx context.Context) error { return errors.Join(remove(ctx, installed), m.ApplyProduct(ctx)) })
	m.must(remove(m.ctx, filepath.Join(m.Root, lab.Manifest)))

	m.must(m.LoadSpeakerAs(m.ctx, "quay.io/metallb/speaker:v0.15.2", "quay.io/metallb/controller:v0.15.2"))
	m.must(m.Apply(m.ctx, shop.YAML()))
	m.kubectl("apply", "-f", filepath.Join(m.files, "services.yaml"))
	for name, vip := range recorded {
		s, err := m.API.CoreV1().Services(namespace).Get(m.ctx, name, metav1.GetOptions{})
		m.must(err)
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: vip.String()}}
		_, err = m.API.CoreV1().Services(namespace).UpdateStatus(m.ctx, s, metav1.UpdateOptions{})
		m.must(err)
	}
	m.kubectl("apply", "-f", filepath.Join(installed, "metallb.yaml"))
	m.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	m.kubectl("apply", "-f", filepath.Join(m.files, "configuration.yaml"))
	m.kubectl("apply", "-f", filepath.Join(installed, "webhook.yaml"))
	m.secret()
	m.kubectl("rollout", "status", "daemonset/speaker", "deployment/controller", "-n", lab.Namespace, "--timeout=60s")
	m.must(m.AwaitReady(m.ctx, shop))
	m.status()
}

// secret makes the member list's key, which MetalLB's controller makes and its Deployment owns.
func (m *migration) secret() {
	m.t.Helper()
	deployment, err := m.API.AppsV1().Deployments(lab.Namespace).Get(m.ctx, "controller", metav1.GetOptions{})
	m.must(err)
	m.must(m.Apply(m.ctx, fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata:
  name: memberlist
  namespace: metallb-system
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: controller, uid: %s}]
stringData: {secretkey: c2l4dGVlbiBieXRlcyBrZQ==}
`, deployment.UID)))
}

// status makes the object in which a speaker of MetalLB's says what it announces, and which its pod owns.
func (m *migration) status() {
	m.t.Helper()
	pods, err := m.API.CoreV1().Pods(lab.Namespace).List(m.ctx, metav1.ListOptions{LabelSelector: "component=speaker", FieldSelector: "spec.nodeName=node-1"})
	m.must(err)
	if len(pods.Items) != 1 {
		m.t.Fatalf("%d speakers on node-1", len(pods.Items))
	}
	m.must(m.Apply(m.ctx, fmt.Sprintf(`apiVersion: metallb.io/v1beta1
kind: ServiceL2Status
metadata:
  name: l2-x7kq2
  namespace: metallb-system
  labels: {metallb.io/node: node-1, metallb.io/service-name: shop, metallb.io/service-namespace: default}
  ownerReferences: [{apiVersion: v1, kind: Pod, name: %s, uid: %s}]
`, pods.Items[0].Name, pods.Items[0].UID)))
	m.kubectl("patch", "servicel2status", "l2-x7kq2", "-n", lab.Namespace, "--subresource=status", "--type=merge", "-p",
		`{"status":{"node":"node-1","serviceName":"shop","serviceNamespace":"default","interfaces":[]}}`)
}
