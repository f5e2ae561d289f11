// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
)

func rule(group, resource string, names []string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: names, Verbs: verbs}
}

func TestExcess(t *testing.T) {
	secret := func(verb, name string) Request {
		return Request{Account: "controller", Verb: verb, Resource: "secrets", Namespace: Namespace, Name: name}
	}
	for name, tc := range map[string]struct {
		namespace string // of the Role
		rule      rbacv1.PolicyRule
		used      []Request
		want      []string
	}{
		"what is used of several names is in order": {
			namespace: Namespace, rule: rule("", "secrets", nil, "get", "create"),
			used: append(slices.Repeat([]Request{secret("create", "a"), secret("get", "a")}, telling), secret("get", "b")),
		},
		"a verb that was never used": {
			namespace: Namespace, rule: rule("", "secrets", nil, "get"),
			used: []Request{secret("list", ""), {Account: "speaker", Verb: "get", Resource: "secrets", Namespace: Namespace, Name: "a"}},
			want: []string{"controller: get secrets is granted and was never used"},
		},
		"a name that was never used": {
			namespace: Namespace, rule: rule("", "secrets", []string{"a", "b"}, "get"), used: []Request{secret("get", "b")},
			want: []string{"controller: get secrets a is granted and was never used"},
		},
		"every name, of which one was used": {
			namespace: Namespace, rule: rule("", "secrets", nil, "get"), used: slices.Repeat([]Request{secret("get", "a")}, telling),
			want: []string{"controller: get secrets is granted for every name, and its 5 uses were all of a: name it in resourceNames"},
		},
		"a few uses say nothing of names": {
			namespace: Namespace, rule: rule("", "secrets", nil, "get"), used: slices.Repeat([]Request{secret("get", "a")}, telling-1),
		},
		"no rule with a name grants create": {
			namespace: Namespace, rule: rule("", "secrets", []string{"a"}, "create"), used: []Request{secret("create", "a")},
			want: []string{"controller: create secrets a is granted and was never used"},
		},
		"a watch is a use of list too": {
			namespace: Namespace, rule: rule("", "secrets", []string{"a"}, "list", "watch"), used: []Request{secret("watch", "a")},
		},
		"a use in another namespace is none of a Role": {
			namespace: "elsewhere", rule: rule("", "secrets", []string{"a"}, "get"), used: []Request{secret("get", "a")},
			want: []string{"controller: get secrets a is granted and was never used"},
		},
		"the whole cluster, of which one namespace was used": {
			rule: rule("", "secrets", nil, "get"), used: []Request{secret("get", "a"), secret("get", "b")},
			want: []string{"controller: get secrets is granted everywhere, and was used in namespace metallb-system only: a Role is enough"},
		},
		"all namespaces at once": {
			rule: rule("", "secrets", nil, "list"), used: []Request{{Account: "controller", Verb: "list", Resource: "secrets"}},
		},
		"a subresource is another resource": {
			rule: rule("metallb.io", "ipaddresspools", nil, "update"),
			used: []Request{{Account: "controller", Verb: "update", Group: "metallb.io", Resource: "ipaddresspools", Subresource: "status"}},
			want: []string{"controller: update ipaddresspools.metallb.io is granted and was never used"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Excess(Grants("controller", tc.namespace, tc.rule), tc.used)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestForbidden(t *testing.T) {
	granted := Grants("speaker", Namespace, rule("", "secrets", []string{"a"}, "get"))
	request := func(name string, forbidden bool) Request {
		return Request{Account: "speaker", Verb: "get", Resource: "secrets", Namespace: Namespace, Name: name, Forbidden: forbidden}
	}
	got := Forbidden(granted, []Request{request("a", false), request("a", true), request("b", true), request("c", false)})
	if diff := cmp.Diff([]string{"speaker: get secrets metallb-system/b was forbidden"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
