// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// NewIPAddressPoolInformer watches the pools of a namespace; its store holds *v1beta1.IPAddressPool, indexed by
// namespace. The caller runs it.
func NewIPAddressPoolInformer(c Interface, namespace string, resync time.Duration) cache.SharedIndexInformer {
	return newInformer(c.IPAddressPools(namespace), &v1beta1.IPAddressPool{}, resync)
}

// NewL2AdvertisementInformer watches the L2Advertisements of a namespace; its store holds *v1beta1.L2Advertisement,
// indexed by namespace. The caller runs it.
func NewL2AdvertisementInformer(c Interface, namespace string, resync time.Duration) cache.SharedIndexInformer {
	return newInformer(c.L2Advertisements(namespace), &v1beta1.L2Advertisement{}, resync)
}

func newInformer[T, L runtime.Object](resource Resource[T, L], example T, resync time.Duration) cache.SharedIndexInformer {
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, options)
		},
	}
	return cache.NewSharedIndexInformer(source, example, resync, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
}
