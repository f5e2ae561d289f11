// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Grant is one verb on one resource, as a role grants it to one of the product's ServiceAccounts.
type Grant struct {
	Account, Verb string
	What          string // group, resource and subresource, as Request.What has them
	Namespace     string // where; empty: everywhere
	Name          string // one of the rule's resourceNames; empty: every name
}

func (g Grant) String() string {
	text := g.Account + ": " + g.Verb + " " + g.What
	if g.Name != "" {
		text += " " + g.Name
	}
	return text
}

// Grants are what a rule grants, one by one. Namespace is the Role's, and empty for a ClusterRole.
func Grants(account, namespace string, rule rbacv1.PolicyRule) []Grant {
	objects := rule.ResourceNames
	if len(objects) == 0 {
		objects = []string{""}
	}
	var all []Grant
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				for _, name := range objects {
					all = append(all, Grant{account, verb, strings.TrimSuffix(resource+"."+group, "."), namespace, name})
				}
			}
		}
	}
	return all
}

// nameless are the verbs that a rule with resourceNames never grants: their requests have no name, whatever the audit log says of
// the object.
var nameless = []string{"create", "deletecollection"}

// telling is how many requests there must be for one name before that is taken for a rule: a few say nothing of the next one's name.
const telling = 5

// Covers says whether the grant allows a request.
func (g Grant) Covers(r Request) bool {
	named := g.Name == "" || g.Name == r.Name && !slices.Contains(nameless, g.Verb)
	return g.Account == r.Account && g.Verb == r.Verb && g.What == r.What() && named && (g.Namespace == "" || g.Namespace == r.Namespace)
}

// Forbidden lists the requests that were forbidden, and are not granted: an API server that has just started forbids what it has not read the
// roles of yet.
func Forbidden(granted []Grant, requests []Request) []string {
	var complaints []string
	for _, r := range requests {
		if r.Forbidden && !slices.ContainsFunc(granted, func(g Grant) bool { return g.Covers(r) }) {
			complaints = append(complaints, fmt.Sprintf("%s: %s %s %s/%s was forbidden", r.Account, r.Verb, r.What(), r.Namespace, r.Name))
		}
	}
	return complaints
}

// Excess lists the grants that are more than was needed for the requests: those never used, those for every name that were used for
// one only, and those for the whole cluster that were used in the product's namespace only.
func Excess(granted []Grant, requests []Request) []string {
	var complaints []string
	for _, g := range granted {
		var used int
		names, namespaces := map[string]bool{}, map[string]bool{}
		for _, r := range requests {
			// A watch begins with a list of its own where the API server can do that, and needs the other verb where it cannot.
			listing := r
			if r.Verb == "watch" && g.Verb == "list" {
				listing.Verb = "list"
			}
			if g.Covers(listing) {
				used++
				names[r.Name], namespaces[r.Namespace] = true, true
			}
		}
		switch {
		case used == 0:
			complaints = append(complaints, fmt.Sprintf("%s is granted and was never used", g))
		case used >= telling && g.Name == "" && len(names) == 1 && !names[""] && !slices.Contains(nameless, g.Verb):
			complaints = append(complaints, fmt.Sprintf("%s is granted for every name, and its %d uses were all of %s: name it in resourceNames", g, used, only(names)))
		case g.Namespace == "" && len(namespaces) == 1 && namespaces[Namespace]:
			complaints = append(complaints, fmt.Sprintf("%s is granted everywhere, and was used in namespace %s only: a Role is enough", g, Namespace))
		}
	}
	return complaints
}

func only(set map[string]bool) string {
	for element := range set {
		return element
	}
	return ""
}
