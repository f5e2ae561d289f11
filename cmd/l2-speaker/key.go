// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/membership"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// watchKey reports the key of heartbeats, now and whenever it changes, until the context is done. The Secret is watched by
// name, which is all that the speaker's role allows; until it exists speakers elect at the speed of sessions.
func watchKey(ctx context.Context, kube kubernetes.Interface, namespace string, report func(membership.Key)) error {
	informer := informers.NewSharedInformerFactoryWithOptions(kube, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(options *metav1.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, names.MemberlistSecret).String()
		})).Core().V1().Secrets().Informer()
	take := func(object any) {
		secret, ok := object.(*corev1.Secret)
		if !ok {
			return
		}
		key, err := membership.NewKey(secret.Data[names.MemberlistKey])
		if err != nil {
			klog.FromContext(ctx).Error(err, "memberlist: the Secret holds no key for heartbeats; delete it, and the controller makes another", "secret", klog.KObj(secret), "field", names.MemberlistKey)
			return
		}
		report(key)
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    take,
		UpdateFunc: func(_, object any) { take(object) },
	}); err != nil {
		return err
	}
	informer.RunWithContext(ctx)
	return nil
}
