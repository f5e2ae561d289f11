// SPDX-License-Identifier: Apache-2.0

package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ResourceServiceL2Statuses is the resource's name, as it stands in URLs and RBAC rules; KindServiceL2Status the kind's.
const (
	ResourceServiceL2Statuses = "servicel2statuses"
	KindServiceL2Status       = "ServiceL2Status"
)

// Labels of a ServiceL2Status, as MetalLB has them. A node's name that is no label's value is cut, and ends in a hash.
const (
	LabelNode             = "metallb.io/node"
	LabelServiceName      = "metallb.io/service-name"
	LabelServiceNamespace = "metallb.io/service-namespace"
)

// ServiceL2Status says which node answers for a Service on the LAN. The speaker of that node keeps it; there is one for each Service
// and node. It is for people and tools to read: nothing is decided by it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=servicel2statuses,scope=Namespaced
// +kubebuilder:printcolumn:name="Allocated Node",type=string,JSONPath=`.status.node`
// +kubebuilder:printcolumn:name="Service Name",type=string,JSONPath=`.status.serviceName`
// +kubebuilder:printcolumn:name="Service Namespace",type=string,JSONPath=`.status.serviceNamespace`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.status.addresses`
// +kubebuilder:printcolumn:name="Interfaces",type=string,JSONPath=`.status.interfaces[*].name`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,priority=1
type ServiceL2Status struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +optional
	Spec ServiceL2StatusSpec `json:"spec,omitempty"`
	// +optional
	Status ServiceL2StatusStatus `json:"status,omitempty"`
}

// ServiceL2StatusSpec is empty: there is nothing to ask for.
type ServiceL2StatusSpec struct{}

// ServiceL2StatusStatus is what a speaker reports of a Service.
type ServiceL2StatusStatus struct {
	// node is the name of the node that answers.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self == oldSelf`,message="the node is immutable: there is an object for each node"
	Node string `json:"node,omitempty"`

	// serviceName is the name of the Service.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self == oldSelf`,message="the Service is immutable: there is an object for each Service"
	ServiceName string `json:"serviceName,omitempty"`

	// serviceNamespace is the namespace of the Service.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule=`self == oldSelf`,message="the Service is immutable: there is an object for each Service"
	ServiceNamespace string `json:"serviceNamespace,omitempty"`

	// addresses are those of the Service's addresses that the node answers for, in order.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=45
	Addresses []string `json:"addresses,omitempty"`

	// interfaces are those on which the node answers, in order of name; none stands for all that it has.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=1000
	Interfaces []InterfaceInfo `json:"interfaces,omitempty"`
}

// InterfaceInfo names a network interface of a node.
type InterfaceInfo struct {
	// name of the interface.
	//
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ServiceL2StatusList is a list of ServiceL2Statuses.
//
// +kubebuilder:object:root=true
type ServiceL2StatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ServiceL2Status `json:"items"`
}
