// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Run is the life of a machine's first process. It returns only when it cannot start.
func Run(argument string) error {
	var config Config
	if err := json.Unmarshal([]byte(argument), &config); err != nil {
		return fmt.Errorf("reading what to be: %w", err)
	}
	if os.Getpid() != 1 {
		return errors.New("this is for the first process of a machine, which `cluster up` starts")
	}
	if err := syscall.Sethostname([]byte(config.Host)); err != nil {
		return fmt.Errorf("taking the name %s: %w", config.Host, err)
	}
	if err := mountAll(config); err != nil {
		return err
	}
	if err := os.Remove(Socket(config.Folder)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing an old socket: %w", err)
	}
	listener, err := net.Listen("unix", Socket(config.Folder))
	if err != nil {
		return fmt.Errorf("listening for orders: %w", err)
	}
	init := &Init{folder: config.Folder, changed: make(chan struct{})}
	go init.reap()
	server := rpc.NewServer()
	if err := server.Register(init); err != nil {
		return fmt.Errorf("offering to take orders: %w", err)
	}
	server.Accept(listener)
	return errors.New("no longer listening for orders")
}

// Init takes a machine's orders. Its exported methods are net/rpc's.
type Init struct {
	folder string

	mu        sync.Mutex // held while a process starts, so that its end is not reaped before it is known
	processes []*Status
	changed   chan struct{} // closed and replaced whenever a process ends
}

// Start implements Machine.Start.
func (i *Init) Start(process Process, _ *struct{}) error {
	log, err := os.OpenFile(LogFile(i.folder, process.Name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening its log: %w", err)
	}
	defer log.Close()
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer nothing.Close()

	i.mu.Lock()
	defer i.mu.Unlock()
	if status := i.find(process.Name); status != nil && status.Running {
		return errors.New("it runs already")
	}
	started, err := os.StartProcess(process.Path, append([]string{process.Path}, process.Arguments...), &os.ProcAttr{
		Dir:   "/",
		Env:   append(os.Environ(), process.Environment...),
		Files: []*os.File{nothing, log, log},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return err
	}
	i.processes = slices.DeleteFunc(i.processes, func(s *Status) bool { return s.Name == process.Name })
	i.processes = append(i.processes, &Status{Name: process.Name, PID: started.Pid, Running: true, Started: time.Now()})
	return started.Release() // reap waits for it, as for everything else
}

// StopOrder names a process and how long it may take to end by itself; 0 kills it.
type StopOrder struct {
	Name     string
	Patience time.Duration
}

// Stop implements Machine.Stop.
func (i *Init) Stop(order StopOrder, _ *struct{}) error {
	for _, attempt := range []struct {
		signal   syscall.Signal
		patience time.Duration
	}{{syscall.SIGTERM, order.Patience}, {syscall.SIGKILL, 10 * time.Second}} {
		if attempt.patience == 0 {
			continue
		}
		i.mu.Lock()
		status := i.find(order.Name)
		if status == nil {
			i.mu.Unlock()
			return errors.New("it was never started")
		}
		if status.Running {
			status.Stopped = true
			if err := syscall.Kill(status.PID, attempt.signal); err != nil {
				i.mu.Unlock()
				return fmt.Errorf("sending %v: %w", attempt.signal, err)
			}
		}
		i.mu.Unlock()
		if i.waitFor(order.Name, attempt.patience) {
			return nil
		}
	}
	return errors.New("it does not end, even when killed")
}

func (i *Init) waitFor(name string, patience time.Duration) (ended bool) {
	for timeout := time.After(patience); ; {
		i.mu.Lock()
		status, changed := i.find(name), i.changed
		running := status != nil && status.Running
		i.mu.Unlock()
		if !running {
			return true
		}
		select {
		case <-changed:
		case <-timeout:
			return false
		}
	}
}

// List implements Machine.List.
func (i *Init) List(_ struct{}, list *[]Status) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, status := range i.processes {
		*list = append(*list, *status)
	}
	return nil
}

func (i *Init) find(name string) *Status {
	for _, status := range i.processes {
		if status.Name == name {
			return status
		}
	}
	return nil
}

// reap waits for everything that ends on this machine: what Start started, and what others have orphaned.
func (i *Init) reap() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	for range signals {
		i.reapNow()
	}
}

func (i *Init) reapNow() {
	i.mu.Lock()
	defer i.mu.Unlock()
	for {
		var end syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &end, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 {
			return
		}
		for _, status := range i.processes {
			if status.PID == pid && status.Running {
				status.Running, status.Ended, status.End = false, time.Now(), describe(end)
				close(i.changed)
				i.changed = make(chan struct{})
			}
		}
	}
}

func describe(end syscall.WaitStatus) string {
	if end.Signaled() {
		return fmt.Sprintf("signal: %v", end.Signal())
	}
	return fmt.Sprintf("exit status %d", end.ExitStatus())
}
