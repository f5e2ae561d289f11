// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
)

// poolStatusPeriod is the least time between two writes of a pool's status: a thousand Services must not cost a
// thousand writes.
const poolStatusPeriod = time.Second

// writePoolStatus writes the counters and conditions of every pool that does not have them yet. failures is its own
// memory of what went wrong last, by pool, so that an error is logged once.
func (c *Cloud) writePoolStatus(ctx context.Context, failures map[string]string) {
	if !c.ready() {
		return
	}
	logger := klog.FromContext(ctx)
	c.mu.Lock()
	usage, problems := c.allocator.Usage(), c.pools
	c.mu.Unlock()
	for _, obj := range c.caches.pools.GetStore().List() {
		pool := obj.(*v1beta1.IPAddressPool)
		counted, ok := usage[pool.Name]
		if !ok {
			continue // newer than the last reading; its turn comes
		}
		updated := pool.DeepCopy()
		updated.Status = poolStatus(pool, counted, problems[pool.Name])
		if apiequality.Semantic.DeepEqual(pool.Status, updated.Status) {
			continue
		}
		_, err := c.clients.pools.IPAddressPools(pool.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			if failures[pool.Name] != err.Error() {
				logger.Info("Cannot write the status of a pool yet", "pool", pool.Name, "reason", err.Error())
			}
			failures[pool.Name] = err.Error()
			if !apierrors.IsInvalid(err) { // it would be refused again
				c.statusChanged.set()
			}
		default:
			delete(failures, pool.Name)
			c.reportPool(logger, pool, updated)
		}
	}
}

func poolStatus(pool *v1beta1.IPAddressPool, usage ipam.Usage, problem problem) v1beta1.IPAddressPoolStatus {
	status := *pool.Status.DeepCopy()
	status.AssignedIPv4, status.AvailableIPv4 = usage.InUseIPv4, usage.AvailableIPv4
	status.AssignedIPv6, status.AvailableIPv6 = usage.InUseIPv6, usage.AvailableIPv6
	condition := metav1.Condition{
		Type:               v1beta1.ConditionReady,
		Status:             metav1.ConditionTrue,
		Reason:             "InUse",
		Message:            "the pool is used as it is written",
		ObservedGeneration: pool.Generation,
	}
	if problem.reason != "" {
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, problem.reason, problem.String()
	}
	meta.SetStatusCondition(&status.Conditions, condition)
	return status
}

// reportPool tells of a problem when it appears or changes, and when it is over.
func (c *Cloud) reportPool(logger klog.Logger, former, current *v1beta1.IPAddressPool) {
	was := meta.FindStatusCondition(former.Status.Conditions, v1beta1.ConditionReady)
	is := meta.FindStatusCondition(current.Status.Conditions, v1beta1.ConditionReady)
	switch {
	case is.Status == metav1.ConditionFalse && (was == nil || was.Message != is.Message):
		logger.Info("pool not ready", "pool", klog.KObj(current), "reason", is.Message)
		c.recorder.Event(current, v1.EventTypeWarning, is.Reason, is.Message)
	case is.Status == metav1.ConditionTrue && was != nil && was.Status == metav1.ConditionFalse:
		logger.Info("pool ready", "pool", klog.KObj(current))
	}
}
