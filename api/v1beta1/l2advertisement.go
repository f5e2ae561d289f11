// SPDX-License-Identifier: Apache-2.0

package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// L2Advertisement says that the addresses of some pools are announced on the local network, from which nodes and
// on which interfaces. An address that no L2Advertisement covers is not announced.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=l2advertisements,scope=Namespaced
// +kubebuilder:printcolumn:name="IPAddressPools",type=string,JSONPath=`.spec.ipAddressPools`
// +kubebuilder:printcolumn:name="IPAddressPool Selectors",type=string,JSONPath=`.spec.ipAddressPoolSelectors`
// +kubebuilder:printcolumn:name="Interfaces",type=string,JSONPath=`.spec.interfaces`
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Node Selectors",type=string,JSONPath=`.spec.nodeSelectors`,priority=1
// +kubebuilder:printcolumn:name="Service Selectors",type=string,JSONPath=`.spec.serviceSelectors`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,priority=1
type L2Advertisement struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec L2AdvertisementSpec `json:"spec,omitempty"`
	// +optional
	Status L2AdvertisementStatus `json:"status,omitempty"`
}

// L2AdvertisementSpec selects addresses, nodes and interfaces. Where several L2Advertisements cover an address, it is
// announced wherever one of them allows.
type L2AdvertisementSpec struct {
	// ipAddressPools lists, by name, the pools whose addresses are announced. Without names and without
	// ipAddressPoolSelectors it is every pool.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	IPAddressPools []string `json:"ipAddressPools,omitempty"`

	// ipAddressPoolSelectors select pools by their labels, in addition to those listed by name; one that matches is
	// enough.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	IPAddressPoolSelectors []metav1.LabelSelector `json:"ipAddressPoolSelectors,omitempty"`

	// nodeSelectors select, by their labels, the nodes that may announce; one that matches is enough. Without any,
	// every node may.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	NodeSelectors []metav1.LabelSelector `json:"nodeSelectors,omitempty"`

	// preferredNodeSelectors weigh the nodes that may announce: the node with the largest sum of matching weights is
	// preferred while it is there.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	PreferredNodeSelectors []PreferredNodeSelector `json:"preferredNodeSelectors,omitempty"`

	// serviceSelectors select, by their labels, the Services whose addresses are announced; one that matches is
	// enough. Without any, it is every Service.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`

	// interfaces lists, by name, the network interfaces to announce on. Without any, it is every suitable interface
	// of the node.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('^[^/:[:space:]]{1,15}$') && self != '.' && self != '..'`,messageExpression=`'"' + self + '" cannot be the name of a network interface, which has 1 to 15 characters, no space, slash or colon: write it as ip link shows it, for example eth0'`
	Interfaces []string `json:"interfaces,omitempty"`
}

// PreferredNodeSelector adds weight to the nodes it selects.
type PreferredNodeSelector struct {
	// weight is what a matching node gains, 1 to 100.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Weight int32 `json:"weight"`

	// preference selects nodes by their labels.
	//
	// +required
	Preference metav1.LabelSelector `json:"preference"`
}

// L2AdvertisementStatus is what the controller reports about the L2Advertisement. Who announces what is told by the Leases of the VIPs.
type L2AdvertisementStatus struct {
	// conditions says whether anything can be announced by it. Type Ready: False with a reason and a message when a selector
	// cannot be read, or when there is no pool, no node or no interface that it matches.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
}

// L2AdvertisementList is a list of L2Advertisements.
//
// +kubebuilder:object:root=true
type L2AdvertisementList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []L2Advertisement `json:"items"`
}
