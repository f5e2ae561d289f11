// SPDX-License-Identifier: Apache-2.0

package provider

import (
	"bytes"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	servicehelpers "k8s.io/cloud-provider/service/helpers"
)

// fieldManager is the name under which the API server notes this program's changes: clients that give none are known
// by the program's name in their user agent.
func fieldManager() string {
	program, _, _ := strings.Cut(rest.DefaultKubernetesUserAgent(), "/")
	return program
}

// finalizedByUs leaves of an object's managed fields those that say that this program, now or in a former process, put the
// load balancer finalizer on it. Caches keep no others.
func finalizedByUs(entries []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	manager := fieldManager()
	var ours []metav1.ManagedFieldsEntry
	for _, entry := range entries {
		if entry.Manager == manager && entry.FieldsV1 != nil &&
			bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(servicehelpers.LoadBalancerCleanupFinalizer)) {
			ours = append(ours, entry)
		}
	}
	return ours
}
