// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// grant is one verb on one resource, as a role names it.
type grant struct{ account, verb, what string }

func (g grant) String() string { return g.account + ": " + g.verb + " " + g.what }

// TestRolesGrantNoMoreThanIsUsed compares, when all other tests have run, what the product's roles grant with what the product asked
// the API server for during them. It comes last by the name of its file.
func TestRolesGrantNoMoreThanIsUsed(t *testing.T) {
	b := begin(t, time.Minute)
	granted := b.granted(t)
	requests, err := b.AuditSince(0)
	b.must(err)
	used := map[grant]bool{}
	for _, r := range requests {
		g := grant{r.Account, r.Verb, r.What()}
		// An API server that has just started forbids what it has not read the roles of yet.
		if r.Forbidden && !slices.Contains(granted, g) {
			t.Errorf("%s %s/%s was forbidden", g, r.Namespace, r.Name)
		}
		used[g] = true
		if r.Verb == "watch" {
			// A watch begins with a list of its own where the API server can do that, and needs the other verb where it cannot.
			used[grant{r.Account, "list", r.What()}] = true
		}
	}
	for _, account := range []string{"controller", "speaker"} {
		if !slices.ContainsFunc(granted, func(g grant) bool { return g.account == account }) {
			t.Errorf("no role grants anything to %s", account)
		}
		if !slices.ContainsFunc(slices.Collect(maps.Keys(used)), func(g grant) bool { return g.account == account }) {
			t.Errorf("%s asked for nothing", account)
		}
	}
	if only := flag.Lookup("test.run").Value.String(); only != "" && strings.Trim(only, "^$") != t.Name() {
		t.Skip("some tests were left out, so what a role grants may not have been used")
	}
	for _, g := range granted {
		if !used[g] {
			t.Errorf("%s is granted and was never used", g)
		}
	}
}

// granted is everything that the roles bound to the product's ServiceAccounts grant.
func (b *bench) granted(t *testing.T) []grant {
	t.Helper()
	rbac := b.API.RbacV1()
	var all []grant
	add := func(subjects []rbacv1.Subject, rules []rbacv1.PolicyRule) {
		for _, s := range subjects {
			if s.Kind != rbacv1.ServiceAccountKind || s.Namespace != lab.Namespace {
				continue
			}
			for _, rule := range rules {
				all = append(all, flatten(s.Name, rule)...)
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
		add(binding.Subjects, role.Rules)
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
		add(binding.Subjects, role.Rules)
	}
	return all
}

func concerns(subjects []rbacv1.Subject) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		return s.Kind == rbacv1.ServiceAccountKind && s.Namespace == lab.Namespace
	})
}

func flatten(account string, rule rbacv1.PolicyRule) []grant {
	var grants []grant
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				what := strings.TrimSuffix(fmt.Sprintf("%s.%s", resource, group), ".")
				grants = append(grants, grant{account, verb, what})
			}
		}
	}
	return grants
}
