// SPDX-License-Identifier: Apache-2.0

package v1beta1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// IPAddressPool is a set of addresses that LoadBalancer Services can be given.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=ipaddresspools,scope=Namespaced
// +kubebuilder:printcolumn:name="Auto Assign",type=boolean,JSONPath=`.spec.autoAssign`
// +kubebuilder:printcolumn:name="Avoid Buggy IPs",type=boolean,JSONPath=`.spec.avoidBuggyIPs`
// +kubebuilder:printcolumn:name="Addresses",type=string,JSONPath=`.spec.addresses`
// +kubebuilder:printcolumn:name="IPv4 Used",type=integer,JSONPath=`.status.assignedIPv4`
// +kubebuilder:printcolumn:name="IPv4 Free",type=integer,JSONPath=`.status.availableIPv4`
// +kubebuilder:printcolumn:name="IPv6 Used",type=integer,JSONPath=`.status.assignedIPv6`,priority=1
// +kubebuilder:printcolumn:name="IPv6 Free",type=integer,JSONPath=`.status.availableIPv6`,priority=1
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,priority=1
type IPAddressPool struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +required
	Spec IPAddressPoolSpec `json:"spec"`
	// +optional
	Status IPAddressPoolStatus `json:"status,omitempty"`
}

// IPAddressPoolSpec says which addresses the pool has and which Services may have them.
type IPAddressPoolSpec struct {
	// addresses lists what the pool hands out. Each entry is a CIDR (192.168.1.240/28), a range of two addresses
	// (192.168.1.240-192.168.1.250) or one address. A pool may hold entries of both IP families.
	//
	// +required
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=83
	// +kubebuilder:validation:items:XValidation:rule=`self.matches('(^|-) *(0*:){2,6}[fF]{4}:([0-9]+[.][0-9]+[.][0-9]+[.][0-9]+|[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}) *(-|/|$)') || (self.contains('-') ? self.contains('-') && self.split('-').size() == 2 && isIP(self.split('-')[0].trim()) && isIP(self.split('-')[1].trim()) : self.contains('/') ? isCIDR(self.trim()) : isIP(self.trim()))`,messageExpression=`'"' + self + '" is not a CIDR, a range or an address: write for example 192.168.1.240/28 or 192.168.1.240-192.168.1.250'`
	// +kubebuilder:validation:items:XValidation:rule=`!self.matches('(^|-) *(0*:){2,6}[fF]{4}:([0-9]+[.][0-9]+[.][0-9]+[.][0-9]+|[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}) *(-|/|$)')`,messageExpression=`'"' + self + '" has an IPv4-mapped IPv6 address: write the IPv4 form, without ::ffff:'`
	// +kubebuilder:validation:items:XValidation:rule=`!(self.contains('-') && self.split('-').size() == 2 && isIP(self.split('-')[0].trim()) && isIP(self.split('-')[1].trim())) || ip(self.split('-')[0].trim()).family() == ip(self.split('-')[1].trim()).family()`,messageExpression=`'"' + self + '" begins in one IP family and ends in the other: write one range for each family'`
	// +kubebuilder:validation:items:XValidation:rule=`!(self.contains('-') && self.split('-').size() == 2 && isIP(self.split('-')[0].trim()) && isIP(self.split('-')[1].trim()) && ip(self.split('-')[0].trim()).family() == 4 && ip(self.split('-')[1].trim()).family() == 4) || [[self.split('-')[0].trim().split('.'), self.split('-')[1].trim().split('.')].map(o, int(o[0]) * 16777216 + int(o[1]) * 65536 + int(o[2]) * 256 + int(o[3]))].all(n, n[0] <= n[1])`,messageExpression=`'"' + self + '" ends before it begins: write ' + self.split('-')[1].trim() + '-' + self.split('-')[0].trim()`
	// +kubebuilder:validation:items:XValidation:rule=`!(!self.contains('-') && self.contains('/') && isCIDR(self.trim())) || cidr(self.trim()) == cidr(self.trim()).masked()`,messageExpression=`'"' + self + '" has host bits set: write ' + self.trim().split('/')[0] + ' for that one address, or begin with the first address of the network for all of the /' + self.trim().split('/')[1]`
	// +kubebuilder:validation:items:XValidation:rule=`!(!self.contains('-') && self.contains('/') && isCIDR(self.trim())) || !['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32', '::/128', '::1/128', 'fe80::/10', 'ff00::/8'].exists(s, cidr(s).containsIP(cidr(self.trim()).ip()) || cidr(self.trim()).containsCIDR(s))`,messageExpression=`'"' + self + '" contains unspecified, loopback, link-local, multicast or broadcast addresses, which cannot be given to Services: leave them out'`
	// +kubebuilder:validation:items:XValidation:rule=`!(self.contains('-') && self.split('-').size() == 2 && isIP(self.split('-')[0].trim()) && isIP(self.split('-')[1].trim())) || !['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32', '::/128', '::1/128', 'fe80::/10', 'ff00::/8'].exists(s, cidr(s).containsIP(self.split('-')[0].trim()) || cidr(s).containsIP(self.split('-')[1].trim()))`,messageExpression=`'"' + self + '" contains unspecified, loopback, link-local, multicast or broadcast addresses, which cannot be given to Services: leave them out'`
	// +kubebuilder:validation:items:XValidation:rule=`!isIP(self.trim()) || !['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32', '::/128', '::1/128', 'fe80::/10', 'ff00::/8'].exists(s, cidr(s).containsIP(self.trim()))`,messageExpression=`'"' + self + '" contains unspecified, loopback, link-local, multicast or broadcast addresses, which cannot be given to Services: leave them out'`
	// +kubebuilder:validation:items:XValidation:rule=`!(self.contains('-') && self.split('-').size() == 2 && isIP(self.split('-')[0].trim()) && isIP(self.split('-')[1].trim()) && ip(self.split('-')[0].trim()).family() == 4 && ip(self.split('-')[1].trim()).family() == 4) || [[self.split('-')[0].trim().split('.'), self.split('-')[1].trim().split('.')].map(o, int(o[0]) * 16777216 + int(o[1]) * 65536 + int(o[2]) * 256 + int(o[3]))].all(n, ![2130706432, 2851995648, 3758096384].exists(s, n[0] < s && s <= n[1]) || ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32', '::/128', '::1/128', 'fe80::/10', 'ff00::/8'].exists(s, cidr(s).containsIP(self.split('-')[0].trim()) || cidr(s).containsIP(self.split('-')[1].trim())))`,messageExpression=`'"' + self + '" contains unspecified, loopback, link-local, multicast or broadcast addresses, which cannot be given to Services: leave them out'`
	Addresses []string `json:"addresses"`

	// autoAssign lets Services that ask for nothing in particular have addresses of this pool. When false, a Service
	// has to name the pool or the address.
	//
	// +optional
	// +kubebuilder:default=true
	AutoAssign *bool `json:"autoAssign,omitempty"`

	// avoidBuggyIPs leaves out the IPv4 addresses that end in .0 or .255, which some equipment mistakes for network or
	// broadcast addresses. Such an address cannot be requested by name either.
	//
	// +optional
	// +kubebuilder:default=false
	AvoidBuggyIPs bool `json:"avoidBuggyIPs,omitempty"`

	// serviceAllocation restricts the pool to some Services and says in which order such pools are tried. Pools that
	// have it come before pools that have not.
	//
	// +optional
	AllocateTo *ServiceAllocation `json:"serviceAllocation,omitempty"`
}

// ServiceAllocation says whose Services a pool is for. A Service has to satisfy both the namespace half (namespaces
// and namespaceSelectors together) and the Service half (serviceSelectors); a half that is left out is satisfied by
// every Service.
type ServiceAllocation struct {
	// priority orders the pools that fit a Service: the lowest number is tried first, and 0 (or no number) last.
	//
	// +optional
	// +kubebuilder:validation:Minimum=0
	Priority int32 `json:"priority,omitempty"`

	// namespaces lists, by name, namespaces whose Services may use the pool.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	Namespaces []string `json:"namespaces,omitempty"`

	// namespaceSelectors select namespaces, by their labels, whose Services may use the pool; one that matches is
	// enough. Selectors that match no namespace leave the pool to the namespaces listed by name, or to nobody.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	NamespaceSelectors []metav1.LabelSelector `json:"namespaceSelectors,omitempty"`

	// serviceSelectors select Services by their own labels; one that matches is enough.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	ServiceSelectors []metav1.LabelSelector `json:"serviceSelectors,omitempty"`
}

// IPAddressPoolStatus is what the controller reports about the pool.
type IPAddressPoolStatus struct {
	// assignedIPv4 counts the IPv4 addresses in use. An address that Services share counts once.
	AssignedIPv4 int64 `json:"assignedIPv4"`
	// assignedIPv6 counts the IPv6 addresses in use.
	AssignedIPv6 int64 `json:"assignedIPv6"`
	// availableIPv4 counts the IPv4 addresses that are free.
	AvailableIPv4 int64 `json:"availableIPv4"`
	// availableIPv6 counts the IPv6 addresses that are free; 9223372036854775807 stands for that many or more.
	AvailableIPv6 int64 `json:"availableIPv6"`

	// conditions says whether the pool is in use. Type Ready: False with a reason and a message when the pool, or a part
	// of it, is not used.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchStrategy=merge
	// +patchMergeKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
}

// ConditionReady is the type of the condition that says whether a pool is used as it is written, and whether an L2Advertisement matches
// what it needs.
const ConditionReady = "Ready"

// IPAddressPoolList is a list of pools.
//
// +kubebuilder:object:root=true
type IPAddressPoolList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []IPAddressPool `json:"items"`
}
