// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// TestRolesGrantNoMoreThanIsUsed compares what the product's roles grant with what the product asked the API server for. By the name of its
// file it comes after all tests but those of Helm and of the migration, which take the product's roles away, and check for themselves that
// nothing was forbidden.
func TestRolesGrantNoMoreThanIsUsed(t *testing.T) {
	b := begin(t, time.Minute)
	granted := b.granted(t)
	requests, err := b.AuditSince(0)
	b.must(err)
	for _, account := range []string{"controller", "speaker"} {
		if !slices.ContainsFunc(granted, func(g lab.Grant) bool { return g.Account == account }) {
			t.Errorf("no role grants anything to %s", account)
		}
		if !slices.ContainsFunc(requests, func(r lab.Request) bool { return r.Account == account }) {
			t.Errorf("%s asked for nothing", account)
		}
	}
	for _, complaint := range lab.Forbidden(granted, requests) {
		t.Error(complaint)
	}
	if only := flag.Lookup("test.run").Value.String(); only != "" && strings.Trim(only, "^$") != t.Name() {
		t.Skip("some tests were left out, so what a role grants may not have been used")
	}
	for _, complaint := range lab.Excess(granted, requests) {
		t.Error(complaint)
	}
}

// nothingForbidden fails the test for each request of the product, since a place in the audit log, that the API server refused and the grants
// do not cover: a product whose roles are just being removed is refused too.
func (b *bench) nothingForbidden(place int64, granted []lab.Grant) {
	b.t.Helper()
	requests, err := b.AuditSince(place)
	b.must(err)
	requests = slices.DeleteFunc(requests, func(r lab.Request) bool { return r.Account != "controller" && r.Account != "speaker" })
	if len(requests) == 0 {
		b.t.Error("the product asked for nothing")
	}
	for _, complaint := range lab.Forbidden(granted, requests) {
		b.t.Error(complaint)
	}
}

// granted is everything that the roles bound to the product's ServiceAccounts grant.
func (b *bench) granted(t *testing.T) []lab.Grant {
	t.Helper()
	rbac := b.API.RbacV1()
	var all []lab.Grant
	add := func(subjects []rbacv1.Subject, namespace string, rules []rbacv1.PolicyRule) {
		for _, s := range subjects {
			if s.Kind != rbacv1.ServiceAccountKind || s.Namespace != lab.Namespace {
				continue
			}
			for _, rule := range rules {
				all = append(all, lab.Grants(s.Name, namespace, rule)...)
			}
		}
	}
	clusterBindings, err := rbac.ClusterRoleBindings().List(b.ctx, metav1.ListOptions{})
	b.must(err)
	for _, binding := range clusterBindings.Items {
		if !concerns(binding.Subjects) {
			continue
		}
		role, err := rbac.ClusterRoles().Get(b.ctx, binding.RoleRef.Name, metav1.GetOptions{})
		b.must(err)
		add(binding.Subjects, metav1.NamespaceAll, role.Rules)
	}
	bindings, err := rbac.RoleBindings(metav1.NamespaceAll).List(b.ctx, metav1.ListOptions{})
	b.must(err)
	for _, binding := range bindings.Items {
		if !concerns(binding.Subjects) {
			continue
		}
		if binding.RoleRef.Kind != "Role" {
			t.Errorf("RoleBinding %s/%s names a %s, which this test does not read", binding.Namespace, binding.Name, binding.RoleRef.Kind)
			continue
		}
		role, err := rbac.Roles(binding.Namespace).Get(b.ctx, binding.RoleRef.Name, metav1.GetOptions{})
		b.must(err)
		add(binding.Subjects, binding.Namespace, role.Rules)
	}
	return all
}

func concerns(subjects []rbacv1.Subject) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		return s.Kind == rbacv1.ServiceAccountKind && s.Namespace == lab.Namespace
	})
}
