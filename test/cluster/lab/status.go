// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/machine"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

// Status is a cluster as it is now. Its JSON form is for programs.
type Status struct {
	Name       string            `json:"name"`
	Up         bool              `json:"up"`
	Runs       bool              `json:"runs"` // everything does, the nodes are ready and no cable is cut
	Why        string            `json:"why,omitempty"`
	Kubeconfig string            `json:"kubeconfig,omitempty"`
	Kubectl    string            `json:"kubectl,omitempty"`
	API        string            `json:"api,omitempty"`
	APIError   string            `json:"apiError,omitempty"`
	Hosts      []HostStatus      `json:"hosts,omitempty"`
	Components []ComponentStatus `json:"components,omitempty"`
}

// HostStatus is how a host is connected and, for a node, whether the API server calls it ready.
type HostStatus struct {
	Name      string         `json:"name"`
	Namespace string         `json:"namespace"`
	IPv4      string         `json:"ipv4"`
	IPv6      string         `json:"ipv6"`
	Condition wire.Condition `json:"condition"`
	Ready     *bool          `json:"ready,omitempty"`
}

// ComponentStatus is one process.
type ComponentStatus struct {
	Host  string    `json:"host"`
	Name  string    `json:"name"`
	Runs  bool      `json:"runs"`
	State string    `json:"state"`
	Since time.Time `json:"since,omitzero"`
	Log   string    `json:"log"`
}

// Status asks everything that there is to ask.
func (c Cluster) Status(ctx context.Context) (Status, error) {
	status := Status{Name: c.Name}
	s, err := c.load()
	if errors.Is(err, ErrNotUp) {
		status.Why = err.Error()
		return status, nil
	}
	if err != nil {
		return status, err
	}
	status.Up, status.Runs = true, true
	status.Kubeconfig, status.Kubectl, status.API = c.Kubeconfig(), c.Kubectl(), serverURL(s.APIPort)
	for _, host := range s.hosts() {
		status.Components = append(status.Components, c.componentsOf(host)...)
	}
	status.Components = append(status.Components, c.forwarderStatus())
	for _, component := range status.Components {
		if !component.Runs {
			status.doubt(component.Name + " on " + component.Host + ": " + component.State)
		}
	}
	ready, err := c.readiness(ctx, s)
	if err != nil {
		status.APIError = err.Error()
		status.doubt("the API server is not ready")
	}
	conditions, err := wire.Conditions(c.Name)
	if err != nil {
		return status, err
	}
	for _, host := range topology.Hosts(s.Nodes) {
		status.addHost(c.Name, host, conditions[host.Name], ready)
	}
	return status, nil
}

// doubt notes the first reason why not everything runs.
func (s *Status) doubt(why string) {
	s.Runs = false
	if s.Why == "" {
		s.Why = why
	}
}

func (s *Status) addHost(cluster string, host topology.Host, condition wire.Condition, ready nodeReadiness) {
	status := HostStatus{
		Name: host.Name, Namespace: topology.Namespace(cluster, host.Name), IPv4: host.IPv4.String(), IPv6: host.IPv6.String(),
	}
	if condition == "" {
		condition = "has no cable"
	}
	status.Condition = condition
	if condition != wire.Connected {
		s.doubt(host.Name + ": " + string(condition))
	}
	if host.Node != 0 && ready != nil {
		isReady := ready[host.Name]
		status.Ready = &isReady
		if !isReady {
			s.doubt(host.Name + " is not ready")
		}
	}
	s.Hosts = append(s.Hosts, status)
}

func (c Cluster) readiness(ctx context.Context, s state) (nodeReadiness, error) {
	server, err := c.api(s)
	if err != nil {
		return nil, err
	}
	if err := server.ready(ctx); err != nil {
		return nil, err
	}
	return server.nodes(ctx)
}

func (c Cluster) componentsOf(host topology.Host) []ComponentStatus {
	folder := c.layout.Host(host.Name)
	known := map[string]machine.Status{}
	m, err := machine.Dial(folder)
	if err == nil {
		defer m.Close()
		var processes []machine.Status
		processes, err = m.List()
		for _, process := range processes {
			known[process.Name] = process
		}
	}
	var components []ComponentStatus
	for _, process := range c.layout.Processes(host) {
		component := ComponentStatus{Host: host.Name, Name: process.Name, Log: machine.LogFile(folder, process.Name)}
		status, started := known[process.Name]
		switch {
		case err != nil:
			component.State = "its host is gone: " + err.Error()
		case !started:
			component.State = "not started"
		case status.Running:
			component.Runs, component.State, component.Since = true, "running", status.Started
		case status.Stopped:
			component.State, component.Since = "stopped", status.Ended
		default:
			component.State, component.Since = "died ("+status.End+")", status.Ended
		}
		components = append(components, component)
	}
	return components
}

func (c Cluster) forwarderStatus() ComponentStatus {
	status := ComponentStatus{Host: topology.ControlPlane, Name: "api-forwarder", State: "not running", Log: c.forwarderLog()}
	if c.forwarderPID() != 0 {
		status.Runs, status.State = true, "running"
	}
	return status
}

// Print writes the status for people, with the last words of what has died.
func (s Status) Print(w io.Writer) {
	if !s.Up {
		fmt.Fprintln(w, s.Why)
		return
	}
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tIPV4\tIPV6\tCABLE\tNODE")
	for _, host := range s.Hosts {
		readiness := ""
		if host.Ready != nil {
			readiness = map[bool]string{true: "ready", false: "not ready"}[*host.Ready]
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", host.Name, host.IPv4, host.IPv6, host.Condition, readiness)
	}
	table.Flush()
	fmt.Fprintln(w)
	fmt.Fprintln(table, "HOST\tCOMPONENT\tSTATE\tFOR")
	for _, component := range s.Components {
		since := ""
		if !component.Since.IsZero() {
			since = time.Since(component.Since).Round(time.Second).String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", component.Host, component.Name, component.State, since)
	}
	table.Flush()
	for _, component := range s.Components {
		if !component.Runs && component.State != "stopped" {
			fmt.Fprintf(w, "\n%s on %s: %s; it said:\n%s\n", component.Name, component.Host, component.State, machine.Tail(component.Log, 10))
		}
	}
	fmt.Fprintln(w)
	if s.APIError != "" {
		fmt.Fprintf(w, "API server %s: %s\n", s.API, s.APIError)
	} else {
		fmt.Fprintf(w, "API server %s: ready\n", s.API)
	}
	if !s.Runs {
		fmt.Fprintf(w, "Not everything runs: %s\n", s.Why)
	}
}
