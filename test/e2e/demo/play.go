// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/load"
)

// configuration is what a user of the product writes.
const configuration = `apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata:
  name: demo
  namespace: metallb-system
spec:
  addresses:
    - 192.168.1.240-192.168.1.249
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata:
  name: demo
  namespace: metallb-system
spec:
  ipAddressPools:
    - demo
`

// longestCut is how long the client may see nothing after a cable cut, for the demo to be a success.
const longestCut = 2 * time.Second

// demo is the play: what one step finds out is what the next builds on.
type demo struct {
	*lab.Cluster
	*stage

	web    lab.Backend
	vip    netip.Addr
	holder string
}

func (d *demo) play(ctx context.Context) error {
	d.web = lab.Backend{Namespace: "default", Name: "web", Replicas: 2, Delay: 2}
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"Bring up Kubernetes: a control plane, three nodes and a client, on a LAN of network namespaces", d.bringUp},
		{"Install the product from " + lab.Manifest, d.install},
		{"Say which addresses may be given out, and that all nodes may announce them", d.configure},
		{"Create a Deployment and a Service of type LoadBalancer", d.expose},
		{"Fetch the page from the client, a host outside the cluster", d.fetch},
		{"See who answers for the address", d.lookAround},
		{"Move the web server off the node that answers, so that what follows happens to the address alone", d.keepOff},
		{"Drain that node while a client opens 100 new connections a second", d.drain},
		{"Let the node back in, and move the web server off the one that answers now", d.restore},
		{"Pull that node's cable while a client opens 100 new connections a second", d.cut},
		{"Plug the cable in again", d.plug},
	} {
		if err := d.step(step.what, func() error { return step.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) bringUp(ctx context.Context) error {
	progress := &excerpt{stage: d.stage}
	if err := d.Up(ctx, progress); err != nil {
		d.say("%s", progress.rest)
		return err
	}
	return d.tidy(ctx)
}

// tidy removes what an earlier run left, whatever step it ended in.
func (d *demo) tidy(ctx context.Context) error {
	nodes, err := d.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if err := d.Heal(ctx, node); err != nil {
			return err
		}
		if _, err := d.Kubectl(ctx, "uncordon", node); err != nil {
			return err
		}
	}
	if _, err := d.Kubectl(ctx, "get", "namespace", lab.Namespace); err != nil {
		return nil // nothing was installed yet
	}
	if err := d.Delete(ctx, d.web.YAML()); err != nil {
		return err
	}
	return d.Delete(ctx, configuration)
}

func (d *demo) install(ctx context.Context) error {
	if err := d.LoadProduct(ctx); err != nil {
		return err
	}
	if err := d.ApplyProduct(ctx); err != nil {
		return err
	}
	if err := d.AwaitCalm(ctx); err != nil {
		return err
	}
	return d.enter(ctx, "kubectl get pods -n metallb-system -o wide")
}

func (d *demo) configure(ctx context.Context) error {
	d.say("%s", strings.TrimSpace(configuration))
	return d.Apply(ctx, configuration)
}

func (d *demo) expose(ctx context.Context) error {
	start := time.Now()
	if err := d.Apply(ctx, d.web.YAML()); err != nil {
		return err
	}
	var err error
	if d.vip, err = d.AwaitAddress(ctx, d.web.Namespace, d.web.Name); err != nil {
		return err
	}
	d.say("EXTERNAL-IP %s after %s", d.vip, seconds(time.Since(start)))
	if err := d.AwaitReady(ctx, d.web); err != nil {
		return err
	}
	if d.holder, err = d.AwaitHolder(ctx, d.vip, lab.Anybody); err != nil {
		return err
	}
	return d.enter(ctx, "kubectl get service web")
}

func (d *demo) fetch(ctx context.Context) error {
	page, err := d.Get(ctx, d.url())
	if err != nil {
		return err
	}
	d.show("curl "+d.url(), page)
	return nil
}

func (d *demo) url() string { return "http://" + d.vip.String() + "/" }

func (d *demo) lookAround(ctx context.Context) error {
	if err := d.enter(ctx, "kubectl get leases -n metallb-system"); err != nil {
		return err
	}
	if err := d.answers(ctx); err != nil {
		return err
	}
	return d.enter(ctx, "kubectl describe service web | grep -A 10 Events")
}

// answers compares the Lease with what is on the wire.
func (d *demo) answers(ctx context.Context) error {
	who, err := d.Answering(ctx, d.vip)
	if err != nil {
		return err
	}
	d.say("Who answers ARP for %s on the LAN: %s", d.vip, strings.Join(who, ", "))
	if len(who) != 1 || who[0] != d.holder {
		return fmt.Errorf("%s is answered by %q, but its Lease names %s", d.vip, who, d.holder)
	}
	return nil
}

func (d *demo) keepOff(ctx context.Context) error {
	if err := d.KeepOff(ctx, d.web, d.holder); err != nil {
		return err
	}
	return d.enter(ctx, "kubectl get pods -l app=web -o wide")
}

func (d *demo) drain(ctx context.Context) error {
	report, err := d.underLoad(ctx, "demo-drain", 15*lab.Rate, func() error {
		command := "kubectl drain " + d.holder + " --ignore-daemonsets --delete-emptydir-data"
		if err := d.enter(ctx, command); err != nil {
			return err
		}
		return d.moved(ctx)
	})
	if err != nil {
		return err
	}
	moved, err := d.MovedAt(ctx, d.vip)
	if err != nil {
		return err
	}
	if across := report.AcrossMove(moved); across > 0 && across <= 2 && across == report.Failures {
		d.say("No new connection was lost. %d that was open at the moment of the move broke, as established ones do.", across)
		return nil
	}
	if report.Failures > 0 {
		return fmt.Errorf("%d of %d requests were lost, want none: %v", report.Failures, report.Requests, report.Errors)
	}
	return nil
}

// moved waits until another node holds the address, and remembers which.
func (d *demo) moved(ctx context.Context) error {
	from := d.holder
	var err error
	if d.holder, err = d.AwaitHolder(ctx, d.vip, lab.AnybodyBut(from)); err != nil {
		return err
	}
	d.say("%s went from %s to %s", d.vip, from, d.holder)
	return nil
}

func (d *demo) restore(ctx context.Context) error {
	nodes, err := d.Nodes(ctx)
	if err != nil {
		return err
	}
	if _, err := d.Kubectl(ctx, append([]string{"uncordon"}, nodes...)...); err != nil {
		return err
	}
	if err := d.KeepOff(ctx, d.web, d.holder); err != nil {
		return err
	}
	if err := d.AwaitCalm(ctx); err != nil {
		return err
	}
	return d.enter(ctx, "kubectl get pods -l app=web -o wide")
}

func (d *demo) cut(ctx context.Context) error {
	cut := d.holder
	report, err := d.underLoad(ctx, "demo-cut", 0, func() error {
		d.say("%s", d.paint("33", "$ bin/cluster cut "+cut))
		start := time.Now()
		if err := d.Cut(ctx, cut); err != nil {
			return err
		}
		if err := d.moved(ctx); err != nil {
			return err
		}
		d.say("The Lease names the new holder %s after the cut", seconds(time.Since(start)))
		return nil
	})
	if err != nil {
		return err
	}
	if report.Gap.Open || report.Gap.Length > longestCut {
		return fmt.Errorf("the gap was %s, want at most %s", seconds(report.Gap.Length), seconds(longestCut))
	}
	return d.answers(ctx)
}

func (d *demo) plug(ctx context.Context) error {
	nodes, err := d.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if err := d.Heal(ctx, node); err != nil {
			return err
		}
	}
	if err := d.AwaitCalm(ctx); err != nil {
		return err
	}
	// The node that is back may be given the address again, by hand-over: ask who has it.
	if d.holder, err = d.AwaitHolder(ctx, d.vip, lab.Anybody); err != nil {
		return err
	}
	return d.answers(ctx)
}

// underLoad measures from a second before something is done until five seconds of successes after it, and at least so many requests.
func (d *demo) underLoad(ctx context.Context, name string, requests int, do func() error) (load.Report, error) {
	l, err := d.StartLoad(ctx, name, d.url())
	if err != nil {
		return load.Report{}, err
	}
	err = do()
	if err == nil {
		err = errors.Join(l.AwaitSuccesses(ctx, 5*lab.Rate), l.AwaitTotal(ctx, requests))
	}
	report, stopErr := l.Stop()
	if err = errors.Join(err, stopErr); err != nil {
		return report, err
	}
	d.result(report)
	return report, nil
}

func (d *demo) result(r load.Report) {
	colour := "32"
	if r.Failures > 0 {
		colour = "33"
	}
	d.say("")
	d.say("%s", d.paint("1;"+colour, fmt.Sprintf("%d of %d new connections lost; longest gap between two answers %s", r.Failures, r.Requests, seconds(r.Gap.Length))))
	d.say("answered in %.1f ms (median); a tenth of a second per character, . all answered, / some, x none:", float64(r.P50)/float64(time.Millisecond))
	d.say("|%s|", r.Strip(100))
	d.say("")
}

// enter runs a command as a user types it and shows both.
func (d *demo) enter(ctx context.Context, line string) error {
	text, err := d.Shell(ctx, d.Root, line, 0)
	if err != nil {
		return err
	}
	d.show(line, text)
	return nil
}

func (d *demo) farewell() {
	fmt.Fprintf(d.out, `The cluster is left running. Look around:
     eval "$(bin/cluster --name %[1]s env)"
     kubectl get services,leases -A
     bin/cluster --name %[1]s exec client -- ip neighbour
Clean up:
     bin/cluster --name %[1]s down
`, clusterName)
}
