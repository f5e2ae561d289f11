// SPDX-License-Identifier: Apache-2.0

// Package uninstall removes what the controller and the speakers have written into their namespace, when both are gone for good: the
// Leases of VIPs, of sessions and of the controller's own election, the ServiceL2Statuses, and the key of the heartbeats. Pools and
// L2Advertisements are people's and stay, as does every Service with its address.
//
// It never removes anything while the product is installed, or while one of its pods may still answer for a VIP: without the session
// Lease, which has that speaker's MACs, the speakers of a new installation would take it for a host that is no speaker, and the VIP for
// one that another host has. The Helm chart runs it after `helm uninstall`.
package uninstall

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/servicestatus"
)

// What the manifests and the chart call the product's objects.
const (
	deployment = "controller"
	daemonSet  = "speaker"
	pods       = "app=metallb,component in (controller,speaker)"
)

const (
	lookPeriod = time.Second
	// patience is how long pods may take to end: their terminationGracePeriodSeconds, 30 s, and the kubelet's time.
	patience = 45 * time.Second
)

// ServiceL2Statuses is what is needed of a client for them.
type ServiceL2Statuses interface {
	DeleteCollection(ctx context.Context, options metav1.DeleteOptions, list metav1.ListOptions) error
}

// Records removes them all, after the product's pods have ended, for which it waits 45 s, and logs what it waits for. An error says what is
// there still, or, at once, that the roles do not allow to look; then nothing was removed, or not everything, and it can be called again.
func Records(ctx context.Context, kube kubernetes.Interface, statuses ServiceL2Statuses, namespace string) error {
	if err := awaitEnd(ctx, kube, namespace); err != nil {
		return fmt.Errorf("removing what controller and speakers have written in namespace %s: %w", namespace, err)
	}
	leases := kube.CoordinationV1().Leases(namespace)
	var all metav1.DeleteOptions
	err := errors.Join(
		removed("the Leases of VIPs and speakers", leases.DeleteCollection(ctx, all, metav1.ListOptions{LabelSelector: names.LabelLease})),
		removed("the controller's Lease", leases.Delete(ctx, names.ControllerLease, all)),
		removed("the ServiceL2Statuses", statuses.DeleteCollection(ctx, all, metav1.ListOptions{LabelSelector: servicestatus.Selector})),
		removed("the key of the heartbeats", kube.CoreV1().Secrets(namespace).Delete(ctx, names.MemberlistSecret, all)),
	)
	if err == nil {
		klog.FromContext(ctx).Info("Removed the Leases, the ServiceL2Statuses and the key of the heartbeats", "namespace", namespace)
	}
	return err
}

// removed is the error of a deletion, with what it was of. What is not there need not be deleted.
func removed(what string, err error) error {
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("removing %s: %w", what, err)
}

// awaitEnd returns when nothing of the product is there that runs.
func awaitEnd(ctx context.Context, kube kubernetes.Interface, namespace string) error {
	tick := time.NewTicker(lookPeriod)
	defer tick.Stop()
	deadline := time.After(patience)
	for told := false; ; {
		there, err := running(ctx, kube, namespace)
		switch {
		case err == nil && len(there) == 0:
			return nil
		case apierrors.IsForbidden(err): // and would be the next time
			return err
		case err == nil && !told:
			told = true
			klog.FromContext(ctx).Info("Waiting for the product to end", "namespace", namespace, "there", there, "atMost", patience)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			if err != nil {
				return err
			}
			return fmt.Errorf("after %s there still are: %s. Nothing was removed, since addresses may be answered for. "+
				"Remove these first, and a Pod of a node that is off with `kubectl delete pod --force`", patience, strings.Join(there, ", "))
		case <-tick.C:
		}
	}
}

// running are the product's workloads and pods, for people to read.
func running(ctx context.Context, kube kubernetes.Interface, namespace string) ([]string, error) {
	var there []string
	_, err := kube.AppsV1().Deployments(namespace).Get(ctx, deployment, metav1.GetOptions{})
	if err == nil {
		there = append(there, "Deployment "+deployment)
	} else if !apierrors.IsNotFound(err) {
		return nil, err
	}
	_, err = kube.AppsV1().DaemonSets(namespace).Get(ctx, daemonSet, metav1.GetOptions{})
	if err == nil {
		there = append(there, "DaemonSet "+daemonSet)
	} else if !apierrors.IsNotFound(err) {
		return nil, err
	}
	list, err := kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: pods})
	if err != nil {
		return nil, err
	}
	for _, pod := range list.Items {
		there = append(there, fmt.Sprintf("Pod %s on node %s", pod.Name, pod.Spec.NodeName))
	}
	return there, nil
}
