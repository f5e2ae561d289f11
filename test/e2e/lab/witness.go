// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// AwaitNoService waits until there is no Service of that name any more.
func (c *Cluster) AwaitNoService(ctx context.Context, namespace, name string) error {
	v := view[*corev1.Service]{c.API.CoreV1().RESTClient(), "services", namespace, named(name), &corev1.Service{}}
	return await(ctx, v, "Service "+namespace+"/"+name+" to go", func(all []*corev1.Service) error {
		if len(all) > 0 {
			return errors.New("it is there")
		}
		return nil
	})
}

// WatchServices lists the Services of a namespace and then follows them: see is called for each change, in the API server's order,
// by the returned function, which ends with ctx.
func (c *Cluster) WatchServices(ctx context.Context, namespace string, see func(s *corev1.Service, gone bool)) (func() error, error) {
	list, err := c.API.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i := range list.Items {
		see(&list.Items[i], false)
	}
	changes, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return c.API.CoreV1().Services(namespace).Watch(ctx, options)
		},
	})
	if err != nil {
		return nil, err
	}
	return func() error {
		for event := range changes.ResultChan() {
			switch object := event.Object.(type) {
			case *corev1.Service:
				see(object, event.Type == watch.Deleted)
			case *metav1.Status:
				return apierrors.FromObject(object)
			}
		}
		return ctx.Err()
	}, nil
}

// Until waits until judge is content with all objects of a kind in a namespace.
func Until[T runtime.Object](ctx context.Context, what string, client cache.Getter, resource, namespace string, empty T, judge func([]T) error) error {
	return await(ctx, view[T]{client: client, resource: resource, namespace: namespace, empty: empty}, what, judge)
}
