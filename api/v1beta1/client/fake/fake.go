// SPDX-License-Identifier: Apache-2.0

// Package fake keeps IPAddressPools and L2Advertisements in memory, for unit tests.
package fake

import (
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	clienttesting "k8s.io/client-go/testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1/client"
)

// Client is a client.Interface over Tracker. Reactors may be added to it before it is used.
type Client struct {
	clienttesting.Fake
	Tracker clienttesting.ObjectTracker
}

var _ client.Interface = (*Client)(nil)

// NewClient returns a Client that has nothing.
func NewClient(t testing.TB) *Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &Client{Tracker: clienttesting.NewObjectTracker(scheme, serializer.NewCodecFactory(scheme).UniversalDecoder())}
	c.AddReactor("*", "*", clienttesting.ObjectReaction(c.Tracker))
	c.AddWatchReactor("*", func(action clienttesting.Action) (bool, watch.Interface, error) {
		// An object tracker cannot stream a list; informers then list and watch.
		if options := action.(clienttesting.WatchActionImpl).ListOptions; options.SendInitialEvents != nil {
			return true, nil, apierrors.NewInvalid(schema.GroupKind{}, "", nil)
		}
		watcher, err := c.Tracker.Watch(action.GetResource(), action.GetNamespace())
		return true, watcher, err
	})
	return c
}

// IPAddressPools implements client.Interface.
func (c *Client) IPAddressPools(namespace string) client.IPAddressPools {
	return gentype.NewFakeClientWithList(&c.Fake, namespace,
		v1beta1.GroupVersion.WithResource(v1beta1.ResourceIPAddressPools), v1beta1.GroupVersion.WithKind(v1beta1.KindIPAddressPool),
		func() *v1beta1.IPAddressPool { return &v1beta1.IPAddressPool{} },
		func() *v1beta1.IPAddressPoolList { return &v1beta1.IPAddressPoolList{} },
		func(to, from *v1beta1.IPAddressPoolList) { to.ListMeta = from.ListMeta },
		func(list *v1beta1.IPAddressPoolList) []*v1beta1.IPAddressPool {
			return gentype.ToPointerSlice(list.Items)
		},
		func(list *v1beta1.IPAddressPoolList, items []*v1beta1.IPAddressPool) {
			list.Items = gentype.FromPointerSlice(items)
		},
	)
}

// L2Advertisements implements client.Interface.
func (c *Client) L2Advertisements(namespace string) client.L2Advertisements {
	return gentype.NewFakeClientWithList(&c.Fake, namespace,
		v1beta1.GroupVersion.WithResource(v1beta1.ResourceL2Advertisements), v1beta1.GroupVersion.WithKind(v1beta1.KindL2Advertisement),
		func() *v1beta1.L2Advertisement { return &v1beta1.L2Advertisement{} },
		func() *v1beta1.L2AdvertisementList { return &v1beta1.L2AdvertisementList{} },
		func(to, from *v1beta1.L2AdvertisementList) { to.ListMeta = from.ListMeta },
		func(list *v1beta1.L2AdvertisementList) []*v1beta1.L2Advertisement {
			return gentype.ToPointerSlice(list.Items)
		},
		func(list *v1beta1.L2AdvertisementList, items []*v1beta1.L2Advertisement) {
			list.Items = gentype.FromPointerSlice(items)
		},
	)
}
