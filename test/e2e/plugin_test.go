// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/doctor"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// status names the node that the LAN hears, its hardware address and who stands by; as a table for people, too.
func TestStatusTellsWhoAnnounces(t *testing.T) {
	if err := shared.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := begin(t, 2*time.Minute)
	b.apply(pool("lan", lan), advertisement("lan", "lan"), served("sick"))
	vip := b.address("sick")
	holder := b.holder(vip, lab.Anybody)
	link, err := b.Exec(b.ctx, holder, "ip", "link", "show", "eth0")
	b.must(err)
	var status view.Status
	b.asks(&status, func() bool {
		i := slices.IndexFunc(status.VIPs, func(each view.VIP) bool { return each.Address == vip })
		if i < 0 {
			return false
		}
		told := status.VIPs[i]
		return told.Node == holder && told.State == inspect.Announcing && len(told.MACs) == 1 && strings.Contains(link, told.MACs[0]) && len(told.Candidates) == 3 && told.Since != nil
	}, "status", "-n", namespace, "-o", "json")
	for _, speaker := range status.Speakers {
		if speaker.Hears == nil || *speaker.Hears != 2 || speaker.Problem != "" {
			t.Errorf("speaker %+v does not hear the two others", speaker)
		}
	}
	table, _, err := b.Plugin(b.ctx, "status", "-n", namespace)
	b.must(err)
	if !slices.ContainsFunc(strings.Split(table, "\n"), func(line string) bool {
		words := strings.Fields(line)
		return len(words) > 3 && words[0] == vip.String() && words[1] == namespace+"/sick" && words[3] == holder
	}) {
		t.Errorf("no line of the table has %s and %s:\n%s", vip, holder, table)
	}
	other, _, err := b.Plugin(b.ctx, "status", "-n", "kube-system", "-o", "json")
	b.must(err)
	status = view.Status{}
	b.must(json.Unmarshal([]byte(other), &status))
	if len(status.VIPs) != 0 || status.Hidden == 0 {
		t.Errorf("another namespace has %d addresses, %d hidden", len(status.VIPs), status.Hidden)
	}
}

// The rights that docs list are enough for everything that is looked at; without them it is said what is missing, and nothing is called
// broken because it could not be read.
func TestPluginGetsByWithItsRights(t *testing.T) {
	if err := shared.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := begin(t, 2*time.Minute)
	b.apply(pool("lan", lan), advertisement("lan", "lan"), served("sick"))
	b.holder(b.address("sick"), lab.Anybody)
	diagnose := func(user string) (d doctor.Diagnosis) {
		t.Helper()
		said, _, err := b.Plugin(b.ctx, "doctor", "-o", "json", "--as="+user)
		b.must(err)
		b.must(json.Unmarshal([]byte(said), &d))
		return d
	}
	b.apply(pluginRights)
	with := diagnose("e2e-operator")
	for _, each := range with.Unread {
		t.Errorf("with all rights it could not read %s: %s", each.What, each.Why)
	}
	for _, result := range with.Checks {
		if result.Severity == doctor.Skipped {
			t.Errorf("with all rights %s is skipped: %s", result.Check, result.Saw)
		}
	}
	without := diagnose("e2e-nobody")
	for _, result := range without.Checks {
		if result.Severity == doctor.Error {
			t.Errorf("without rights %s finds %+v", result.Check, result.Findings)
		}
	}
	if len(without.Unread) == 0 || without.ExitStatus() != 1 {
		t.Errorf("without rights %d things could not be read, and the exit status is %d", len(without.Unread), without.ExitStatus())
	}
	for _, args := range [][]string{{"status", "-A"}, {"explain", "sick", "-n", namespace}} {
		if said, _, err := b.Plugin(b.ctx, append(args, "--as=e2e-operator")...); err != nil || !strings.Contains(said, "sick") {
			t.Errorf("with all rights, %v: %v: %s", args, err, said)
		}
	}
}

// pluginRights are what docs/troubleshoot.md lists, for a user of the test.
const pluginRights = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: e2e-kubectl-l2}
rules:
  - apiGroups: [""]
    resources: [services, nodes, namespaces, events]
    verbs: [get, list, watch]
  - apiGroups: [discovery.k8s.io]
    resources: [endpointslices]
    verbs: [list]
  - apiGroups: [apps]
    resources: [daemonsets, deployments]
    verbs: [list]
  - apiGroups: [admissionregistration.k8s.io]
    resources: [validatingwebhookconfigurations]
    verbs: [list]
  - apiGroups: [networking.k8s.io]
    resources: [servicecidrs]
    verbs: [list]
  - apiGroups: [metallb.io, frrk8s.metallb.io]
    resources: ["*"]
    verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: e2e-kubectl-l2}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: e2e-kubectl-l2}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: e2e-operator}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: e2e-kubectl-l2, namespace: metallb-system}
rules:
  - apiGroups: [""]
    resources: [pods]
    verbs: [list]
  - apiGroups: [""]
    resources: [pods/exec]
    verbs: [create, get]
  - apiGroups: [""]
    resources: [configmaps]
    verbs: [get]
  - apiGroups: [coordination.k8s.io]
    resources: [leases]
    verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: e2e-kubectl-l2, namespace: metallb-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: e2e-kubectl-l2}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: e2e-operator}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: e2e-kubectl-l2, namespace: kube-system}
rules:
  - apiGroups: [""]
    resources: [configmaps]
    resourceNames: [kube-proxy, cilium-config]
    verbs: [get]
  - apiGroups: [""]
    resources: [pods]
    verbs: [list]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: e2e-kubectl-l2, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: e2e-kubectl-l2}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: e2e-operator}]
`
