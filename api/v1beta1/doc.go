// SPDX-License-Identifier: Apache-2.0

// Package v1beta1 holds the configuration API, group metallb.io, version v1beta1: IPAddressPool and L2Advertisement,
// with the fields that MetalLB's API has, so that its manifests apply unchanged. Deepcopy code and CRDs are generated
// from these types (`make generate`); what one object can say about itself is validated by the API server with the
// CEL rules written here, so there is no webhook.
//
// +kubebuilder:object:generate=true
// +groupName=metallb.io
package v1beta1
