// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/guide"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// TestGuide follows a how-to as its reader would: blocks are applied unchanged, commands are run as they stand, and each must show
// what the reader looks for. A section's objects are gone before the next, but for the complete example, on which the rest builds.
func TestGuide(t *testing.T) {
	name := os.Getenv("GUIDE")
	if name == "" {
		fmt.Println("SKIPPED guide: GUIDE does not name a file")
		t.Skip("GUIDE does not name a file")
	}
	if !filepath.IsAbs(name) {
		name = filepath.Join(shared.Root, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("the guide's commands need curl on this machine: apt-get install curl")
	}
	g := &reader{t: t, sections: guide.Parse(string(text)), folder: t.TempDir()}

	g.read("Installing MetalLB", func(b *bench, s guide.Section) {
		g.run(b, s,
			step{command: "kubectl apply -f https://", instead: [2]string{`https://\S+`, filepath.Join(shared.Root, lab.Manifest)},
				wants: []string{`deployment\.apps/controller`, `daemonset\.apps/speaker`}, not: []string{"created"}},
			step{command: "kubectl wait", wants: []string{`pod/controller-\S+ condition met`, `(?s)(pod/speaker-\S+ condition met.*){3}`}},
			step{command: "kubectl get pods", wants: []string{`controller-\S+ +1/1 +Running`, `(?s)(speaker-\S+ +1/1 +Running.*){3}`}},
		)
	})
	g.read("Basic IPAddressPool Configuration", func(b *bench, s guide.Section) {
		g.file(b, s)
		g.run(b, s, step{command: "kubectl apply -f ipaddresspool.yaml", wants: []string{`local-network-pool created`}})
		g.gives(b, "", "192.168.1.240-192.168.1.255")
	})
	g.read("Advanced IPAddressPool with Multiple Ranges", func(b *bench, s guide.Section) {
		g.apply(b, s)
		g.gives(b, "", "192.168.1.100-192.168.1.150", "192.168.1.200-192.168.1.220", "10.0.0.1-10.0.0.15")
	})
	g.read("IPAddressPool for Specific Services", func(b *bench, s guide.Section) {
		g.apply(b, s)
		g.gives(b, "database-pool", "192.168.1.50-192.168.1.59")
	})
	g.read("Basic L2Advertisement", func(b *bench, s guide.Section) {
		g.file(b, s)
		g.run(b, s, step{command: "kubectl apply -f l2advertisement.yaml", wants: []string{`local-network-advertisement created`}})
	})
	g.read("L2Advertisement with Node Selectors", g.apply)
	g.read("L2Advertisement with Interface Selection", g.apply)
	g.read("Complete Configuration Example", g.complete)
	g.read("IP Address Management", func(b *bench, s guide.Section) {
		g.apply(b, s)
		g.gives(b, "", "192.168.1.100-192.168.1.119")
		g.gives(b, "internal-services-pool", "192.168.1.120-192.168.1.129")
	})
	g.read("Monitoring and Alerting", func(b *bench, s guide.Section) {
		b.apply(prometheusRules)
		_, err := b.Kubectl(b.ctx, "wait", "--for=condition=established", "crd/prometheusrules.monitoring.coreos.com", "--timeout=30s")
		b.must(err)
		g.apply(b, s)
		_, err = b.Kubectl(b.ctx, "get", "prometheusrule", "metallb-alerts", "-n", "monitoring")
		b.must(err)
	})
	g.read("Security Considerations", func(b *bench, s guide.Section) {
		a := b.announce("guarded")
		g.apply(b, s)
		b.must(b.AwaitCalm(b.ctx))
		_, err := b.Get(b.ctx, a.url())
		b.must(err)
	})
	if !t.Failed() { // a section that failed has not read on
		g.everythingRead()
	}
}

// complete applies the guide's complete example and reads on, up to the best practices, with that in place.
func (g *reader) complete(b *bench, s guide.Section) {
	g.apply(b, s)
	vip := netip.MustParseAddr("192.168.1.240")
	var holder string

	g.readOn(b, "Creating a LoadBalancer Service", func(s guide.Section) {
		var both []string
		for _, block := range s.In("yaml") {
			both = append(both, block.Text)
		}
		all := strings.Join(both, "---\n")
		b.must(os.WriteFile(filepath.Join(g.folder, "nginx-demo.yaml"), []byte(all), 0o644))
		b.later(func(ctx context.Context) error { return b.Delete(ctx, all) })
		g.run(b, s,
			step{command: "kubectl apply -f nginx-demo.yaml", wants: []string{"deployment.apps/nginx-demo created", "service/nginx-lb created"}, then: func() {
				holder = g.up(b, vip)
			}},
			step{command: "kubectl get service nginx-lb", wants: []string{`nginx-lb +LoadBalancer +10\.96\.\d+\.\d+ +192\.168\.1\.240 +80:\d+/TCP`}},
			step{command: "curl http://192.168.1.240", wants: []string{"nginx"}},
		)
	})
	g.readOn(b, "Requesting a Specific IP Address", func(s guide.Section) {
		remove := b.apply(s.In("yaml")[0].Text)
		if got := b.address("nginx-specific-ip").String(); got != "192.168.1.245" {
			b.t.Errorf("nginx-specific-ip got %s, want 192.168.1.245", got)
		}
		b.holder(netip.MustParseAddr("192.168.1.245"), lab.Anybody)
		remove()
	})
	g.readOn(b, "Using a Specific Pool", func(s guide.Section) {
		remove := b.apply(s.In("yaml")[0].Text)
		g.within(b, b.address("priority-service"), "192.168.1.200-192.168.1.204")
		remove()
	})
	g.readOn(b, "Testing Failover", func(s guide.Section) { g.failover(b, s, vip, holder) })
	g.readOn(b, "Monitoring Failover Events", func(s guide.Section) {
		script := filepath.Join(g.folder, "monitor-metallb.sh")
		b.must(os.WriteFile(script, []byte(s.In("bash")[0].Text), 0o755))
		text, err := b.Shell(b.ctx, g.folder, script, 4*time.Second)
		b.must(err)
		expect(b.t, script, text, step{wants: []string{`Monitoring`, `\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] .*(leader|announce|withdraw|elected)`}})
	})
	g.readOn(b, "Common Issues and Solutions", func(s guide.Section) {
		pods := []string{`controller-\S+ +1/1 +Running`, `(?s)(speaker-\S+ +1/1 +Running.*){3}`}
		g.run(b, s,
			step{command: "kubectl get pods", wants: pods},
			step{command: "kubectl get ipaddresspools", wants: []string{"primary-pool", "priority-pool"}},
			step{command: "kubectl logs", wants: []string{`\S`}},
			step{command: "kubectl get l2advertisements", wants: []string{"name: primary-l2-advertisement", "- primary-pool"}},
			step{command: "kubectl get l2advertisement ", wants: []string{"primary-l2-advertisement"}},
			step{command: "kubectl logs", wants: []string{"(?i)announce.*192.168.1.240"}},
			step{command: "kubectl get pods", wants: append(pods, "node-1", "node-2", "node-3")},
			step{command: "arping", wants: []string{`reply from 192\.168\.1\.240`}, limit: 3 * time.Second},
			step{command: "arp -a", wants: []string{`192\.168\.1\.240`}},
			step{command: "kubectl get pods", wants: pods[1:]},
			step{command: "kubectl logs", wants: []string{"memberlist"}},
			step{command: "kubectl exec", wants: []string{`(?m)^memberlist_`}},
		)
	})
	g.readOn(b, "Debugging Commands", func(s guide.Section) {
		g.run(b, s,
			step{command: "kubectl get all", wants: []string{"deployment.apps/controller", "daemonset.apps/speaker"}},
			step{command: "kubectl get services", wants: []string{`nginx-lb +LoadBalancer`}},
			step{command: "kubectl get ipaddresspools,l2advertisements", wants: []string{"kind: IPAddressPool", "kind: L2Advertisement"}},
			step{command: "kubectl get events", wants: []string{"speaker"}},
			step{command: "kubectl exec", wants: []string{"eth0", `inet 192\.168\.1\.\d+`}},
		)
	})
}

// up waits until the guide's Service is announced and its backends serve.
func (g *reader) up(b *bench, vip netip.Addr) string {
	b.must(b.AwaitReady(b.ctx, lab.Backend{Namespace: "default", Name: "nginx-demo", Replicas: 3}))
	if got := b.address("nginx-lb"); got != vip {
		b.t.Errorf("nginx-lb got %s, want %s", got, vip)
	}
	return b.holder(vip, lab.Anybody)
}

// failover drains the holder under load. The guide's own backends are evicted by that and stop at once, so lost requests are shown, not
// judged: TestDrainThatEvictsBackendsLosesNothing has those that do not.
func (g *reader) failover(b *bench, s guide.Section, vip netip.Addr, holder string) {
	node := [2]string{`node-1`, holder}
	b.uncordons(holder)
	var running *lab.Load
	g.run(b, s,
		step{command: "kubectl logs", wants: []string{`192\.168\.1\.240`, holder}},
		step{command: "kubectl describe", wants: []string{"IPAllocated", "nodeAssigned", holder}, then: func() {
			var err error
			running, err = b.StartLoad(b.ctx, "guide-drain", "http://"+vip.String()+"/")
			b.must(err)
		}},
		step{command: "kubectl cordon", instead: node, wants: []string{holder + " cordoned"}},
		step{command: "kubectl drain", instead: node, wants: []string{holder + " (drained|evicted)"}, then: func() {
			b.holder(vip, lab.AnybodyBut(holder))
			b.must(running.AwaitSuccesses(b.ctx, 2*lab.Rate))
			report, err := running.Stop()
			b.must(err)
			b.t.Logf("the guide's drain, its own backends evicted without delay: %d of %d new connections failed %v, longest gap %v",
				report.Failures, report.Requests, report.Errors, round(report.Gap.Length))
		}},
		step{command: "kubectl get service nginx-lb -w", limit: 2 * time.Second, wants: []string{`192\.168\.1\.240`}},
		step{command: "for i in", wants: []string{`(?s)(200 - 0\.\d+s\n){30}`}, not: []string{"Connection failed"}},
		step{command: "kubectl uncordon", instead: node, wants: []string{holder + " uncordoned"}},
	)
}

// prometheusRules is as much of the monitoring stack as the guide's alerts need to be accepted.
const prometheusRules = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: prometheusrules.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: PrometheusRule, listKind: PrometheusRuleList, plural: prometheusrules, singular: prometheusrule}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
---
apiVersion: v1
kind: Namespace
metadata: {name: monitoring}
`

// reader keeps the place in a guide, and sees to it that no section with anything to do is passed over.
type reader struct {
	t        *testing.T
	sections []guide.Section
	folder   string // where the guide's files are made and its commands run
	known    []string
}

// read follows a section on its own: what it made is gone, and all is calm, before the next.
func (g *reader) read(title string, follow func(*bench, guide.Section)) {
	s := g.find(title)
	g.t.Run(title, func(t *testing.T) { follow(begin(t, 6*time.Minute), s) })
}

// readOn follows a section that builds on the one the bench belongs to.
func (g *reader) readOn(b *bench, title string, follow func(guide.Section)) {
	b.t.Helper()
	s := g.find(title)
	b.t.Log("reading on:", title)
	follow(s)
}

func (g *reader) find(title string) guide.Section {
	for _, s := range g.sections {
		if s.Title == title {
			g.known = append(g.known, title)
			return s
		}
	}
	g.t.Fatalf("the guide has no section %q", title)
	return guide.Section{}
}

func (g *reader) everythingRead() {
	for _, s := range g.sections {
		doable := len(s.In("yaml")) + len(s.In("bash"))
		if doable > 0 && !strings.Contains("\n"+strings.Join(g.known, "\n")+"\n", "\n"+s.Title+"\n") {
			g.t.Errorf("the guide's section %q (line %d) has blocks that this test does not know", s.Title, s.Line)
		}
	}
}

// apply applies a section's YAML unchanged.
func (g *reader) apply(b *bench, s guide.Section) {
	b.t.Helper()
	for _, block := range s.In("yaml") {
		b.apply(block.Text)
	}
}

// file writes a section's YAML to the file the guide names, for its own command to apply.
func (g *reader) file(b *bench, s guide.Section) {
	b.t.Helper()
	for _, block := range s.In("yaml") {
		if block.File == "" {
			b.t.Fatalf("line %d: the guide names no file for this block", block.Line)
		}
		b.must(os.WriteFile(filepath.Join(g.folder, block.File), []byte(block.Text), 0o644))
		b.later(func(ctx context.Context) error { return b.Delete(ctx, block.Text) })
	}
}

// gives asks for an address, of a pool by name or of any, and fails unless it is in one of the ranges.
func (g *reader) gives(b *bench, pool string, ranges ...string) {
	b.t.Helper()
	var annotations []string
	if pool != "" {
		annotations = []string{"metallb.universe.tf/address-pool", pool}
	}
	remove := b.apply(service("guide-check", annotations...))
	g.within(b, b.address("guide-check"), ranges...)
	remove()
}

func (g *reader) within(b *bench, addr netip.Addr, ranges ...string) {
	b.t.Helper()
	for _, r := range ranges {
		first, last, _ := strings.Cut(r, "-")
		if netip.MustParseAddr(first).Compare(addr) <= 0 && addr.Compare(netip.MustParseAddr(last)) <= 0 {
			return
		}
	}
	b.t.Errorf("the address is %s, want one in %v", addr, ranges)
}

// step is what is expected of one of the guide's commands.
type step struct {
	command string    // how it begins: a guide that changed is noticed
	instead [2]string // a pattern in it, and what this cluster has in that place
	wants   []string  // patterns its output must match
	not     []string  // and must not
	limit   time.Duration
	then    func()
}

// run runs a section's commands, one after the other, as many as there are steps.
func (g *reader) run(b *bench, s guide.Section, steps ...step) {
	b.t.Helper()
	var commands []string
	for _, block := range s.In("bash") {
		commands = append(commands, guide.Commands(block.Text)...)
	}
	if len(commands) != len(steps) {
		b.t.Fatalf("section %q has %d commands, this test knows %d: %q", s.Title, len(commands), len(steps), commands)
	}
	for i, step := range steps {
		command := commands[i]
		if !strings.HasPrefix(command, step.command) {
			b.t.Fatalf("command %d of section %q is %q, this test knows %q", i+1, s.Title, command, step.command)
		}
		if step.instead[0] != "" {
			command = regexp.MustCompile(step.instead[0]).ReplaceAllLiteralString(command, step.instead[1])
		}
		text, err := b.Shell(b.ctx, g.folder, command, step.limit)
		b.must(err)
		expect(b.t, command, text, step)
		if step.then != nil {
			step.then()
		}
	}
}

func expect(t *testing.T, command, text string, step step) {
	t.Helper()
	for _, want := range step.wants {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("$ %s\nno %q in:\n%s", command, want, text)
		}
	}
	for _, not := range step.not {
		if regexp.MustCompile(not).MatchString(text) {
			t.Errorf("$ %s\nthere is %q in:\n%s", command, not, text)
		}
	}
}
