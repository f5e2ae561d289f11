// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
)

// AwaitNoService waits until there is no Service of that name any more.
func (c *Cluster) AwaitNoService(ctx context.Context, namespace, name string) error {
	v := view[*corev1.Service]{c.API.CoreV1().RESTClient(), "services", namespace, name, &corev1.Service{}}
	return await(ctx, v, "Service "+namespace+"/"+name+" to go", func(all []*corev1.Service) error {
		if len(all) > 0 {
			return errors.New("it is there")
		}
		return nil
	})
}
