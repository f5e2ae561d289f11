// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
)

// AwaitServices waits until judge is content with all Services of a namespace.
func (c *Cluster) AwaitServices(ctx context.Context, namespace, what string, judge func([]*corev1.Service) error) error {
	v := view[*corev1.Service]{c.API.CoreV1().RESTClient(), "services", namespace, nil, &corev1.Service{}}
	return await(ctx, v, fmt.Sprintf("the Services of %s %s", namespace, what), judge)
}

// AwaitLeases waits until judge is content with all of the product's Leases. It is called for each change of one, which at rest is each
// renewal of a session.
func (c *Cluster) AwaitLeases(ctx context.Context, what string, judge func([]*coordinationv1.Lease) error) error {
	v := view[*coordinationv1.Lease]{c.API.CoordinationV1().RESTClient(), "leases", Namespace, nil, &coordinationv1.Lease{}}
	return await(ctx, v, "the Leases "+what, judge)
}
