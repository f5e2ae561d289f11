// SPDX-License-Identifier: Apache-2.0

package servicestatus

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cloud-provider-l2/cloud-provider-l2/api/v1beta1"
)

// The label and value by which these objects are told from MetalLB's, which have names and owners of another kind.
const (
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "cloud-provider-l2"
)

// Selector selects these objects by their labels, and none of MetalLB's.
const Selector = labelManagedBy + "=" + managedBy

// Name of the object for a Service and a node: `default.web.node-1`. The names of namespaces and Services have no dot, so no two
// objects share one. One that would be too long for an object, which only the node's can make it, is cut and ends in a hash; it is then
// longer than any that is not.
func Name(service types.NamespacedName, node string) string {
	name := service.Namespace + "." + service.Name + "." + node
	if len(name) < validation.DNS1123SubdomainMaxLength {
		return name
	}
	return cut(name, validation.DNS1123SubdomainMaxLength)
}

// cut is a text of exactly that length, which begins as the given one and ends in a hash of it. Between them stands an `x`, so that what is
// cut never ends in a character after which a dash may not stand.
func cut(text string, length int) string {
	sum := sha256.Sum256([]byte(text))
	hash := "x-" + hex.EncodeToString(sum[:16])
	return text[:length-len(hash)] + hash
}

// NodeLabel is the value of the label metallb.io/node of a node.
func NodeLabel(node string) string {
	if len(validation.IsValidLabelValue(node)) == 0 {
		return node
	}
	return cut(node, validation.LabelValueMaxLength)
}

// object is what should stand for a Service.
func (e entry) object(namespace, node string) *v1beta1.ServiceL2Status {
	object := &v1beta1.ServiceL2Status{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: Name(e.service, node), Labels: map[string]string{
			labelManagedBy:                managedBy,
			v1beta1.LabelNode:             NodeLabel(node),
			v1beta1.LabelServiceName:      e.service.Name,
			v1beta1.LabelServiceNamespace: e.service.Namespace,
		}},
		Status: v1beta1.ServiceL2StatusStatus{Node: node, ServiceName: e.service.Name, ServiceNamespace: e.service.Namespace},
	}
	for _, address := range e.addresses {
		object.Status.Addresses = append(object.Status.Addresses, address.String())
	}
	for _, name := range e.interfaces {
		object.Status.Interfaces = append(object.Status.Interfaces, v1beta1.InterfaceInfo{Name: name})
	}
	return object
}

// labelled says whether an object has the labels that it should have, whatever others it has.
func labelled(have, want *v1beta1.ServiceL2Status) bool {
	for key, value := range want.Labels {
		if have.Labels[key] != value {
			return false
		}
	}
	return true
}

// relabel is an object with the labels that it should have.
func relabel(have, want *v1beta1.ServiceL2Status) *v1beta1.ServiceL2Status {
	object := have.DeepCopy()
	if object.Labels == nil {
		object.Labels = map[string]string{}
	}
	maps.Copy(object.Labels, want.Labels)
	return object
}

// says tells whether the status of an object is as it should be.
func says(have, want *v1beta1.ServiceL2Status) bool {
	return equality.Semantic.DeepEqual(have.Status, want.Status)
}

// contradicts says that an object's status cannot be made right, because what may not change is wrong: somebody else has made the object.
func contradicts(have, want *v1beta1.ServiceL2Status) bool {
	return slices.ContainsFunc([][2]string{
		{have.Status.Node, want.Status.Node},
		{have.Status.ServiceName, want.Status.ServiceName},
		{have.Status.ServiceNamespace, want.Status.ServiceNamespace},
	}, func(pair [2]string) bool { return pair[0] != "" && pair[0] != pair[1] })
}
