// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"context"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// advertisementStatusPeriod is the least time between two writes of an L2Advertisement's status.
const advertisementStatusPeriod = time.Second

// reasonAnnounces is that of an L2Advertisement's condition when nothing keeps it from being used.
const reasonAnnounces = "Announces"

// Covered takes in what each L2Advertisement of our namespace matches, by its UID, and says so in its condition. The map is not changed
// afterwards.
func (c *Cloud) Covered(coverage map[types.UID]plan.Coverage) {
	c.mu.Lock()
	c.coverage = coverage
	c.mu.Unlock()
	c.coverChanged.set()
}

func (c *Cloud) watchAdvertisements() {
	c.caches.advertisements.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { c.coverChanged.set() },
		UpdateFunc: func(any, any) { c.coverChanged.set() },
	})
}

// advertisementWriter writes conditions of L2Advertisements. It belongs to one goroutine.
type advertisementWriter struct {
	cloud    *Cloud
	failures map[string]string              // what went wrong last, by name, so that it is logged once
	dropped  map[types.UID]metav1.Condition // what the API server has not kept, as with a CRD that does not know conditions
}

// write writes the conditions that are not there yet.
func (w *advertisementWriter) write(ctx context.Context) {
	c := w.cloud
	if !c.ready() {
		return
	}
	c.mu.Lock()
	coverage := c.coverage
	c.mu.Unlock()
	for _, obj := range c.caches.advertisements.GetStore().List() {
		ad := obj.(*v1beta1.L2Advertisement)
		found, ok := coverage[ad.UID]
		if !ok || found.Generation != ad.Generation {
			continue // newer than the last look; its turn comes
		}
		condition := advertisementCondition(found)
		updated := ad.DeepCopy()
		if meta.SetStatusCondition(&updated.Status.Conditions, condition) && w.dropped[ad.UID] != condition {
			w.update(ctx, ad, updated, condition)
		}
	}
}

func (w *advertisementWriter) update(ctx context.Context, former, updated *v1beta1.L2Advertisement, condition metav1.Condition) {
	logger := klog.FromContext(ctx)
	kept, err := w.cloud.clients.pools.L2Advertisements(updated.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		// It is gone, or it is seen again when its change is.
		return
	case err == nil && meta.FindStatusCondition(kept.Status.Conditions, v1beta1.ConditionReady) == nil:
		w.dropped[updated.UID] = condition
		w.failed(logger, updated.Name, "the CRD does not know conditions: apply manifests/crds")
		return
	case err != nil:
		w.failed(logger, updated.Name, err.Error())
		if !apierrors.IsInvalid(err) { // it would be refused again
			w.cloud.coverChanged.set()
		}
		return
	}
	delete(w.failures, updated.Name)
	delete(w.dropped, updated.UID)
	was := meta.FindStatusCondition(former.Status.Conditions, v1beta1.ConditionReady)
	switch {
	case condition.Status == metav1.ConditionFalse && (was == nil || was.Message != condition.Message):
		logger.Info("L2Advertisement not ready", "l2Advertisement", klog.KObj(updated), "reason", condition.Message)
	case condition.Status == metav1.ConditionTrue && was != nil && was.Status == metav1.ConditionFalse:
		logger.Info("L2Advertisement ready", "l2Advertisement", klog.KObj(updated))
	}
}

func (w *advertisementWriter) failed(logger klog.Logger, name, reason string) {
	if w.failures[name] != reason {
		logger.Info("Cannot write the status of an L2Advertisement yet", "l2Advertisement", name, "reason", reason)
	}
	w.failures[name] = reason
}

// advertisementCondition says what an L2Advertisement matches, but for what depends on which Services there are: it must not be written
// with each of them.
func advertisementCondition(coverage plan.Coverage) metav1.Condition {
	condition := metav1.Condition{
		Type:               v1beta1.ConditionReady,
		Status:             metav1.ConditionTrue,
		Reason:             reasonAnnounces,
		Message:            "there are pools and nodes that it selects",
		ObservedGeneration: coverage.Generation,
	}
	var saw []string
	for _, fault := range coverage.Faults {
		if fault.Reason == plan.NoService {
			continue
		}
		saw = append(saw, fault.Saw)
		if fault.Silences() && condition.Status == metav1.ConditionTrue {
			condition.Status, condition.Reason = metav1.ConditionFalse, string(fault.Reason)
		}
	}
	if len(saw) > 0 {
		condition.Message = strings.Join(saw, "; ")
	}
	return condition
}
