// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// items makes a page of a typed client's List.
func items[T any, L interface {
	runtime.Object
	metav1.ListInterface
}](list func(context.Context, metav1.ListOptions) (L, error)) page[T] {
	return func(ctx context.Context, options metav1.ListOptions) ([]*T, string, error) {
		found, err := list(ctx, options)
		if err != nil {
			return nil, "", err
		}
		var objects []*T
		err = meta.EachListItem(found, func(object runtime.Object) error {
			if each, ok := object.(any).(*T); ok {
				objects = append(objects, each)
			}
			return nil
		})
		return objects, found.GetContinue(), err
	}
}
