// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
)

// statusOptions are those of `kubectl l2 status`.
type statusOptions struct {
	*options
	allNamespaces bool
	selector      string
	watch         bool
}

func newStatusCommand(o *options) *cobra.Command {
	s := &statusOptions{options: o}
	command := &cobra.Command{
		Use:   "status",
		Short: "Show addresses and who announces them, pools and speakers",
		Long: `Show the addresses of the Services in a namespace, or in all with -A: the node that announces each, on which interface,
since when, how often it has moved, and which nodes stand by, the next first. Pools and speakers are shown too. With -w, an address
that no Service has any more is shown once more, in state Gone.`,
		Example: `  kubectl l2 status -A
  kubectl l2 status -n shop -l app=web -o wide
  kubectl l2 status -A -w
  kubectl l2 status -A -o json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return s.run(command.Context()) },
	}
	flags := command.Flags()
	flags.BoolVarP(&s.allNamespaces, "all-namespaces", "A", false, "Show the addresses of Services in all namespaces.")
	flags.StringVarP(&s.selector, "selector", "l", "", "Show only the addresses of Services with these labels, as in app=web.")
	flags.BoolVarP(&s.watch, "watch", "w", false, "After showing them, show each address that changes.")
	o.addOutput(command, "wide", "json", "yaml")
	return command
}

func (s *statusOptions) run(ctx context.Context) error {
	want, err := s.filter()
	if err != nil {
		return err
	}
	c, err := s.collector()
	if err != nil {
		return err
	}
	status, err := s.status(ctx, c, want)
	if err != nil {
		return err
	}
	if err := s.show(status); err != nil || !s.watch {
		return err
	}
	return s.follow(ctx, c, want, status)
}

// filter is which Services are asked for.
func (s *statusOptions) filter() (func(*corev1.Service) bool, error) {
	selector, err := labels.Parse(s.selector)
	if err != nil {
		return nil, fmt.Errorf("--selector: %w", err)
	}
	namespace, err := s.namespace()
	if err != nil {
		return nil, err
	}
	return func(service *corev1.Service) bool {
		return (s.allNamespaces || service.Namespace == namespace) && selector.Matches(labels.Set(service.Labels))
	}, nil
}

func (s *statusOptions) status(ctx context.Context, c *snapshot.Collector, want func(*corev1.Service) bool) (view.Status, error) {
	taken, err := c.Basic(ctx)
	if err != nil {
		return view.Status{}, err
	}
	c.AskSpeakers(ctx)
	return view.StatusOf(taken, want), nil
}

func (s *statusOptions) show(status view.Status) error {
	if done, err := s.print(status); done {
		return err
	}
	sections := []struct {
		columns []column
		rows    [][]any
	}{{vipColumns, vipRows(status)}, {poolColumns, poolRows(status.Pools)}, {speakerColumns, speakerRows(status.Speakers)}}
	if len(sections[0].rows) == 0 {
		fmt.Fprintln(s.errors, strings.TrimSpace("No addresses of Services found. "+hint(status.Hidden)))
	}
	if s.watch {
		sections = sections[:1]
	}
	shown := 0
	for _, section := range sections {
		if len(section.rows) == 0 {
			continue
		}
		if shown > 0 {
			fmt.Fprintln(s.out)
		}
		shown++
		if err := s.table(section.columns, section.rows, true); err != nil {
			return err
		}
	}
	s.unread(status.Unread)
	return nil
}

func hint(hidden int) string {
	if hidden == 0 {
		return ""
	}
	return fmt.Sprintf("There are %d of other Services: -A shows those of all namespaces.", hidden)
}

var vipColumns = []column{
	{name: "ADDRESS"}, {name: "SERVICE"}, {name: "POOL"}, {name: "NODE"}, {name: "STATE"}, {name: "INTERFACE"}, {name: "SINCE"}, {name: "MOVES"}, {name: "CANDIDATES"},
	{name: "MAC", wide: true}, {name: "WHY", wide: true},
}

func vipRows(status view.Status) (rows [][]any) {
	for _, vip := range status.VIPs {
		state := string(inspect.Announcing)
		switch {
		case vip.Node == "":
			state = vip.Reason
		case vip.State != "":
			state = string(vip.State)
		case vip.Successor != "":
			state = string(inspect.HandingOver)
		}
		rows = append(rows, []any{
			vip.Address.String(), orNone(strings.Join(vip.Services, ",")), orNone(vip.Pool), orNone(vip.Node), state, orNone(strings.Join(vip.Interfaces, ",")),
			since(vip.Since), vip.Moves, orNone(strings.Join(vip.Candidates, ",")), orNone(strings.Join(vip.MACs, ",")), orNone(vip.Message),
		})
	}
	for _, waiting := range status.Waiting {
		none, state := orNone(""), "NoAddress"
		if waiting.Gone {
			state = view.ReasonGone
		}
		rows = append(rows, []any{"<pending>", waiting.Service, none, none, state, none, none, 0, none, none, waiting.Reason})
	}
	return rows
}

var poolColumns = []column{
	{name: "POOL"}, {name: "IPV4 USED"}, {name: "IPV6 USED"}, {name: "AUTO"}, {name: "ADVERTISED"}, {name: "PROBLEMS"},
	{name: "RESERVED", wide: true}, {name: "AVOID BUGGY", wide: true},
}

func poolRows(pools []view.Pool) (rows [][]any) {
	used := func(inUse, total int64) string {
		if total == 0 {
			return orNone("")
		}
		return view.FormatCount(inUse) + "/" + view.FormatCount(total)
	}
	for _, pool := range pools {
		rows = append(rows, []any{
			pool.Name, used(pool.InUseIPv4, pool.TotalIPv4), used(pool.InUseIPv6, pool.TotalIPv6), pool.AutoAssign, pool.Advertised, orNone(strings.Join(pool.Problems, "; ")),
			pool.Reserved, pool.AvoidBuggyIPs,
		})
	}
	return rows
}

var speakerColumns = []column{
	{name: "NODE"}, {name: "SPEAKER"}, {name: "SESSION"}, {name: "HEARS"}, {name: "VIPS"}, {name: "INTERFACES"}, {name: "PROBLEM"},
	{name: "EPOCH", wide: true}, {name: "VERSION", wide: true},
}

func speakerRows(speakers []view.Speaker) (rows [][]any) {
	for _, speaker := range speakers {
		hears := "<unknown>"
		if speaker.Hears != nil {
			hears = fmt.Sprintf("%d/%d", *speaker.Hears, speaker.Others)
		}
		problem := speaker.Problem
		if speaker.WhyNot != "" {
			problem = strings.Trim(problem+"; takes no VIPs: "+speaker.WhyNot, "; ")
		}
		rows = append(rows, []any{
			speaker.Node, orNone(speaker.Pod), since(speaker.Since), hears, speaker.VIPs, orNone(strings.Join(speaker.Interfaces, ",")), orNone(problem),
			orNone(speaker.Session), orNone(speaker.Version),
		})
	}
	return rows
}

func orNone(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}

func since(at *time.Time) string {
	if at == nil {
		return "<none>"
	}
	return duration.HumanDuration(max(0, time.Since(*at)))
}

// follow shows each address that changes, until the context is done.
func (s *statusOptions) follow(ctx context.Context, c *snapshot.Collector, want func(*corev1.Service) bool, last view.Status) error {
	changes, err := watchChanges(ctx, c)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changes:
		}
		status, err := s.status(ctx, c, want)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			fmt.Fprintln(s.errors, err) // the API server may come back
			continue
		}
		if why, unread := whyUnread(status.Unread, snapshot.Services); unread {
			fmt.Fprintf(s.errors, "could not read %s: %s\n", snapshot.Services, why)
			continue
		}
		changed := changedOnly(last, status)
		last = status
		if len(changed.VIPs)+len(changed.Waiting) == 0 {
			continue
		}
		if done, err := s.print(changed); done {
			if err != nil {
				return err
			}
			continue
		}
		if err := s.table(vipColumns, vipRows(changed), false); err != nil {
			return err
		}
	}
}

// changedOnly leaves out of a status what was so before, and adds what is there no more. Services could be read for both.
func changedOnly(before, now view.Status) view.Status {
	key := func(vip view.VIP) string {
		vip.Since = nil // told by another clock, and together with moves
		return fmt.Sprintf("%+v", vip)
	}
	vips, waiting := map[netip.Addr]string{}, map[string]view.Waiting{} // as before
	for _, vip := range before.VIPs {
		vips[vip.Address] = key(vip)
	}
	for _, each := range before.Waiting {
		waiting[each.Service] = each
	}
	changed := now
	changed.VIPs, changed.Waiting = []view.VIP{}, nil
	still, served := map[netip.Addr]bool{}, map[string]bool{} // now; Services that wait are served, too
	for _, vip := range now.VIPs {
		still[vip.Address] = true
		for _, service := range vip.Services {
			served[service] = true
		}
		if vips[vip.Address] != key(vip) {
			changed.VIPs = append(changed.VIPs, vip)
		}
	}
	for _, vip := range before.VIPs {
		if !still[vip.Address] {
			changed.VIPs = append(changed.VIPs, view.VIP{
				Address: vip.Address, Services: vip.Services, Pool: vip.Pool, Moves: vip.Moves, Reason: view.ReasonGone, Message: "no Service that was asked for has it any more",
			})
		}
	}
	for _, each := range now.Waiting {
		if waiting[each.Service] != each {
			changed.Waiting = append(changed.Waiting, each)
		}
		served[each.Service] = true
	}
	if _, unread := whyUnread(now.Unread, snapshot.Pools, snapshot.Namespaces); unread {
		return changed // who waits is not known
	}
	for _, each := range before.Waiting {
		if !served[each.Service] {
			changed.Waiting = append(changed.Waiting, view.Waiting{Service: each.Service, Reason: "it does not wait for an address any more", Gone: true})
		}
	}
	return changed
}
