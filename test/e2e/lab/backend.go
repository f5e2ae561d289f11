// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Backend is a Deployment of the test image's small web server, and a LoadBalancer Service in front of it. It asks for CPU, without which
// anything else that runs on the computer takes all of it from its pods, and what they lose looks like what the product loses.
type Backend struct {
	Namespace string
	Name      string
	Replicas  int
	// Delay keeps a pod that is told to stop serving for so many seconds, until every node has heard that it goes.
	Delay int
	// Annotations of the Service.
	Annotations map[string]string
	// Family of the Service's addresses, IPv4 or IPv6; empty: as the cluster has it.
	Family string
}

// YAML is what a user would write.
func (b Backend) YAML() string { return b.deployment() + "---\n" + b.service() }

func (b Backend) deployment() string {
	lifecycle := ""
	if b.Delay > 0 {
		lifecycle = fmt.Sprintf("          lifecycle: {preStop: {sleep: {seconds: %d}}}\n", b.Delay)
	}
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[2]s
  namespace: %[1]s
spec:
  replicas: %[3]d
  selector: {matchLabels: {app: %[2]s}}
  strategy: {rollingUpdate: {maxUnavailable: 0}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec:
      containers:
        - name: web
          image: nginx:1.25
          ports: [{containerPort: 80}]
          resources: {requests: {cpu: 100m}}
          readinessProbe: {httpGet: {path: /healthz, port: 80}, periodSeconds: 1}
%[4]s      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {matchLabels: {app: %[2]s}}
`, b.Namespace, b.Name, b.Replicas, lifecycle)
}

func (b Backend) service() string {
	annotations, _ := json.Marshal(b.Annotations) // a map of strings cannot fail
	families := ""
	if b.Family != "" {
		families = fmt.Sprintf("  ipFamilyPolicy: SingleStack\n  ipFamilies: [%s]\n", b.Family)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata:
  name: %s
  namespace: %s
  annotations: %s
spec:
  type: LoadBalancer
%s  selector: {app: %s}
  ports: [{port: 80, targetPort: 80}]
`, b.Name, b.Namespace, annotations, families, b.Name)
}

// AwaitReady waits until all of the backend's pods serve, and no other is left.
func (c *Cluster) AwaitReady(ctx context.Context, b Backend) error {
	return c.awaitBackend(ctx, b, nil)
}

// KeepOff moves a backend away from nodes, without a moment in which nobody serves, and waits until that is done.
// What happens to those nodes then happens to the VIP alone.
func (c *Cluster) KeepOff(ctx context.Context, b Backend, nodes ...string) error {
	quoted, err := json.Marshal(nodes)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":
		{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"NotIn","values":%s}]}]}}}}}}}`, quoted)
	if _, err := c.Kubectl(ctx, "patch", "deployment", b.Name, "-n", b.Namespace, "--type=merge", "-p", patch); err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, "rollout", "status", "deployment/"+b.Name, "-n", b.Namespace, "--timeout=90s"); err != nil {
		return err
	}
	return c.awaitBackend(ctx, b, nodes)
}

func (c *Cluster) awaitBackend(ctx context.Context, b Backend, off []string) error {
	return c.AwaitPods(ctx, b.Namespace, b.Name, "to serve", func(pods []*corev1.Pod) error {
		var wrong []string
		for _, p := range pods {
			if why := unfit(p, off); why != "" {
				wrong = append(wrong, p.Name+" "+why)
			}
		}
		if len(wrong) > 0 {
			return errors.New(strings.Join(wrong, ", "))
		}
		if len(pods) != b.Replicas {
			return fmt.Errorf("there are %d of %d", len(pods), b.Replicas)
		}
		return nil
	})
}

func unfit(p *corev1.Pod, off []string) string {
	switch {
	case p.DeletionTimestamp != nil:
		return "is being deleted"
	case slices.Contains(off, p.Spec.NodeName):
		return "is on " + p.Spec.NodeName
	}
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
			return ""
		}
	}
	return "is not ready"
}
