// SPDX-License-Identifier: Apache-2.0

// Package client reads and writes the objects of api/v1beta1, typed, with client-go's own generics. The controller and
// the speakers use it; it holds no state but the connection.
package client

import (
	"context"
	"fmt"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// Resource is what can be done with the objects of one kind in one namespace.
type Resource[T, L runtime.Object] interface {
	Get(ctx context.Context, name string, options metav1.GetOptions) (T, error)
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
	Create(ctx context.Context, object T, options metav1.CreateOptions) (T, error)
	Update(ctx context.Context, object T, options metav1.UpdateOptions) (T, error)
	UpdateStatus(ctx context.Context, object T, options metav1.UpdateOptions) (T, error)
	Patch(ctx context.Context, name string, kind types.PatchType, patch []byte, options metav1.PatchOptions, subresources ...string) (T, error)
	Delete(ctx context.Context, name string, options metav1.DeleteOptions) error
	DeleteCollection(ctx context.Context, options metav1.DeleteOptions, list metav1.ListOptions) error
}

// IPAddressPools gives access to the pools of one namespace.
type IPAddressPools = Resource[*v1beta1.IPAddressPool, *v1beta1.IPAddressPoolList]

// L2Advertisements gives access to the L2Advertisements of one namespace.
type L2Advertisements = Resource[*v1beta1.L2Advertisement, *v1beta1.L2AdvertisementList]

// Interface is what the informers, and tests in place of a Client, need.
type Interface interface {
	IPAddressPools(namespace string) IPAddressPools
	L2Advertisements(namespace string) L2Advertisements
}

// Client talks to an API server. It is safe for use by several goroutines.
type Client struct {
	rest  rest.Interface
	codec runtime.ParameterCodec
}

var _ Interface = (*Client)(nil)

// NewForConfig makes a client for the API server that config describes; config itself is not changed.
func NewForConfig(config *rest.Config) (*Client, error) {
	return newClient(config, func(config *rest.Config) (*rest.RESTClient, error) { return rest.RESTClientFor(config) })
}

// NewForConfigAndClient is NewForConfig over an HTTP client that the caller has, so that its connections and limits
// are shared.
func NewForConfigAndClient(config *rest.Config, transport *http.Client) (*Client, error) {
	return newClient(config, func(config *rest.Config) (*rest.RESTClient, error) {
		return rest.RESTClientForConfigAndClient(config, transport)
	})
}

func newClient(config *rest.Config, connect func(*rest.Config) (*rest.RESTClient, error)) (*Client, error) {
	scheme := runtime.NewScheme()
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the types of %s: %w", v1beta1.GroupVersion, err)
	}
	config = rest.CopyConfig(config)
	config.GroupVersion = &v1beta1.GroupVersion
	config.APIPath = "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	// CRDs are served as JSON only; the callers' own configuration often prefers protobuf.
	config.ContentType = runtime.ContentTypeJSON
	config.AcceptContentTypes = runtime.ContentTypeJSON
	if config.UserAgent == "" {
		config.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	connection, err := connect(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for %s: %w", v1beta1.GroupVersion, err)
	}
	return &Client{rest: connection, codec: runtime.NewParameterCodec(scheme)}, nil
}

// IPAddressPools gives access to the pools of a namespace.
func (c *Client) IPAddressPools(namespace string) IPAddressPools {
	return gentype.NewClientWithList(v1beta1.ResourceIPAddressPools, c.rest, c.codec, namespace,
		func() *v1beta1.IPAddressPool { return &v1beta1.IPAddressPool{} },
		func() *v1beta1.IPAddressPoolList { return &v1beta1.IPAddressPoolList{} })
}

// L2Advertisements gives access to the L2Advertisements of a namespace.
func (c *Client) L2Advertisements(namespace string) L2Advertisements {
	return gentype.NewClientWithList(v1beta1.ResourceL2Advertisements, c.rest, c.codec, namespace,
		func() *v1beta1.L2Advertisement { return &v1beta1.L2Advertisement{} },
		func() *v1beta1.L2AdvertisementList { return &v1beta1.L2AdvertisementList{} })
}
