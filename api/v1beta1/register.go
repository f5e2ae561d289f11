// SPDX-License-Identifier: Apache-2.0

package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of everything in this package.
var GroupVersion = schema.GroupVersion{Group: "metallb.io", Version: "v1beta1"}

// Resource names, as they stand in URLs and RBAC rules.
const (
	ResourceIPAddressPools   = "ipaddresspools"
	ResourceL2Advertisements = "l2advertisements"
)

// Kinds, as they stand in manifests and event references.
const (
	KindIPAddressPool   = "IPAddressPool"
	KindL2Advertisement = "L2Advertisement"
)

// AddToScheme makes a scheme know the types of this package.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&IPAddressPool{}, &IPAddressPoolList{},
		&L2Advertisement{}, &L2AdvertisementList{},
		&ServiceL2Status{}, &ServiceL2StatusList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
