// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/tools/cache"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// ServiceL2Statuses gives access to the ServiceL2Statuses of one namespace.
type ServiceL2Statuses = Resource[*v1beta1.ServiceL2Status, *v1beta1.ServiceL2StatusList]

// ServiceL2Statuses gives access to the ServiceL2Statuses of a namespace.
func (c *Client) ServiceL2Statuses(namespace string) ServiceL2Statuses {
	return gentype.NewClientWithList(v1beta1.ResourceServiceL2Statuses, c.rest, c.codec, namespace,
		func() *v1beta1.ServiceL2Status { return &v1beta1.ServiceL2Status{} },
		func() *v1beta1.ServiceL2StatusList { return &v1beta1.ServiceL2StatusList{} })
}

// NewServiceL2StatusInformer watches the ServiceL2Statuses of a namespace that a label selector selects, for each speaker need only
// know its own. The caller runs it.
func NewServiceL2StatusInformer(resource ServiceL2Statuses, selector string) cache.SharedIndexInformer {
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = selector
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = selector
			return resource.Watch(ctx, options)
		},
	}
	return cache.NewSharedIndexInformer(source, &v1beta1.ServiceL2Status{}, 0, cache.Indexers{})
}
