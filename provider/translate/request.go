// SPDX-License-Identifier: Apache-2.0

// Package translate says what Services and IPAddressPools mean in the terms of ipam. It decides nothing and holds no state. The controller
// allocates by it, and `kubectl l2` explains by it, so that the two cannot disagree.
package translate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cloud-provider-l2/cloud-provider-l2/ipam"
)

// Annotations that users write on Services. Each has two spellings, of which the first wins where both are present.
const (
	annotationPrefix           = "metallb.io/"
	annotationPrefixDeprecated = "metallb.universe.tf/"

	annotationPool      = "address-pool"
	annotationAddresses = "loadBalancerIPs"
	annotationSharing   = "allow-shared-ip"
)

// Annotations are all spellings of the annotations that we read. The list is not to be changed.
var Annotations = func() (keys []string) {
	for _, name := range []string{annotationPool, annotationAddresses, annotationSharing} {
		keys = append(keys, annotationPrefix+name, annotationPrefixDeprecated+name)
	}
	return keys
}()

// annotation reads an annotation in either spelling, and says which one it was.
func annotation(svc *v1.Service, name string) (key, value string) {
	for _, prefix := range []string{annotationPrefix, annotationPrefixDeprecated} {
		if value, ok := svc.Annotations[prefix+name]; ok {
			return prefix + name, strings.TrimSpace(value)
		}
	}
	return annotationPrefix + name, ""
}

// Request is what a Service asks for.
func Request(svc *v1.Service, namespaceLabels map[string]string) ipam.Request {
	_, pool := annotation(svc, annotationPool)
	request := ipam.Request{
		ID:              string(svc.UID),
		Namespace:       svc.Namespace,
		Name:            svc.Name,
		Created:         svc.CreationTimestamp.Time,
		Labels:          svc.Labels,
		NamespaceLabels: namespaceLabels,
		Pool:            pool,
		Sharing:         sharingOf(svc),
	}
	if request.Families, request.Flexible, request.Invalid = familiesOf(svc); request.Invalid == nil {
		request.Addresses, request.Invalid = addressesOf(svc)
	}
	return request
}

// familiesOf tells the families of a Service, and whether one of them will do for the time being.
func familiesOf(svc *v1.Service) (families []ipam.Family, flexible bool, err error) {
	for _, family := range svc.Spec.IPFamilies {
		families = append(families, familyNamed(family))
	}
	if len(families) == 0 {
		families = familiesOfClusterIPs(svc)
	}
	policy := v1.IPFamilyPolicySingleStack
	if svc.Spec.IPFamilyPolicy != nil {
		policy = *svc.Spec.IPFamilyPolicy
	}
	switch {
	case len(families) == 0:
		return nil, false, fmt.Errorf("the Service has no cluster IP and so no IP family: give it one, or another type")
	case policy == v1.IPFamilyPolicyRequireDualStack && len(families) < 2:
		return nil, false, fmt.Errorf("the Service requires dual stack but has only %s cluster IPs: change its ipFamilyPolicy", families[0])
	case policy == v1.IPFamilyPolicySingleStack:
		return families[:1], false, nil
	}
	return families, policy == v1.IPFamilyPolicyPreferDualStack, nil
}

func familyNamed(family v1.IPFamily) ipam.Family {
	if family == v1.IPv6Protocol {
		return ipam.IPv6
	}
	return ipam.IPv4
}

func familiesOfClusterIPs(svc *v1.Service) []ipam.Family {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	var families []ipam.Family
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip); err == nil && !slices.Contains(families, ipam.FamilyOf(addr)) {
			families = append(families, ipam.FamilyOf(addr))
		}
	}
	return families
}

// addressesOf are the addresses that a Service asks for by name.
func addressesOf(svc *v1.Service) ([]netip.Addr, error) {
	key, value := annotation(svc, annotationAddresses)
	switch {
	case value != "" && svc.Spec.LoadBalancerIP != "":
		return nil, fmt.Errorf("the Service has both annotation %s and spec.loadBalancerIP: keep one of them", key)
	case value == "":
		key, value = "spec.loadBalancerIP", svc.Spec.LoadBalancerIP
	}
	if value == "" {
		return nil, nil
	}
	addrs, err := ipam.ParseAddresses(value)
	if err != nil {
		return nil, fmt.Errorf("%s names %w", key, err)
	}
	return addrs, nil
}

func sharingOf(svc *v1.Service) ipam.Sharing {
	_, key := annotation(svc, annotationSharing)
	sharing := ipam.Sharing{Key: key}
	for _, port := range svc.Spec.Ports {
		protocol := port.Protocol
		if protocol == "" {
			protocol = v1.ProtocolTCP
		}
		sharing.Ports = append(sharing.Ports, ipam.Port{Protocol: string(protocol), Number: uint16(port.Port)})
	}
	if svc.Spec.ExternalTrafficPolicy == v1.ServiceExternalTrafficPolicyLocal {
		sharing.Backend = svc.Namespace + "/" + labels.FormatLabels(svc.Spec.Selector)
	}
	return sharing
}

// Status is how addresses are recorded on a Service. ipMode is always set: the API server would default it, and the
// stock controller would then see a difference on every sync.
func Status(addrs []netip.Addr) *v1.LoadBalancerStatus {
	status := &v1.LoadBalancerStatus{}
	mode := v1.LoadBalancerIPModeVIP
	for _, addr := range addrs {
		status.Ingress = append(status.Ingress, v1.LoadBalancerIngress{IP: addr.String(), IPMode: &mode})
	}
	return status
}

// Recorded are the addresses that a Service's status names, as far as it names any.
func Recorded(svc *v1.Service) []netip.Addr {
	var addrs []netip.Addr
	for _, ingress := range svc.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(ingress.IP); err == nil {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}
