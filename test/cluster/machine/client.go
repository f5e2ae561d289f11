// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"
	"net"
	"net/rpc"
	"time"
)

// Machine gives orders to a machine that has been booted.
type Machine struct {
	client *rpc.Client
}

// Dial reaches the machine that lives in folder.
func Dial(folder string) (*Machine, error) {
	connection, err := net.DialTimeout("unix", Socket(folder), time.Second)
	if err != nil {
		return nil, fmt.Errorf("reaching the machine in %s: %w", folder, err)
	}
	return &Machine{client: rpc.NewClient(connection)}, nil
}

// Start runs a process. One of that name that has ended is forgotten, one that runs is an error.
func (m *Machine) Start(process Process) error {
	if err := m.client.Call("Init.Start", process, &struct{}{}); err != nil {
		return fmt.Errorf("starting %s: %w", process.Name, err)
	}
	return nil
}

// Stop asks a process to end, and ends it when it has not after some patience.
func (m *Machine) Stop(name string, patience time.Duration) error {
	if err := m.client.Call("Init.Stop", StopOrder{Name: name, Patience: patience}, &struct{}{}); err != nil {
		return fmt.Errorf("stopping %s: %w", name, err)
	}
	return nil
}

// List tells of every process that was started, in that order.
func (m *Machine) List() ([]Status, error) {
	var list []Status
	if err := m.client.Call("Init.List", struct{}{}, &list); err != nil {
		return nil, fmt.Errorf("asking what runs: %w", err)
	}
	return list, nil
}

// Close ends the conversation, not the machine.
func (m *Machine) Close() error { return m.client.Close() }
