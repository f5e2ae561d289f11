// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/topology"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

// ForwardVerb is the hidden command that makes this program the forwarder.
const ForwardVerb = "forward-api"

// forwarderListener is the descriptor that the forwarder inherits.
const forwarderListener = 3

// startForwarder lets the computer's own programs reach the API server without a wire between the two networks: it
// opens a port here and hands it to a process that lives in the control plane's network namespace.
func (c Cluster) startForwarder(port int) (chosen int, err error) {
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return 0, fmt.Errorf("port %d on 127.0.0.1 is busy: end what listens there (`ss -ltnp sport = %d` shows it), or give another --api-port", port, port)
	}
	if err != nil {
		return 0, fmt.Errorf("opening a port for the API server: %w", err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return 0, fmt.Errorf("handing over the port for the API server: %w", err)
	}
	defer file.Close()
	log, err := os.OpenFile(c.forwarderLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, fmt.Errorf("opening the forwarder's log: %w", err)
	}
	defer log.Close()
	forwarder := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{c.forwarderName(), ForwardVerb, topology.ControlPlaneHost().IPv4.String() + ":" + strconv.Itoa(topology.APIPort)},
		Dir:         "/",
		Stdout:      log,
		Stderr:      log,
		ExtraFiles:  []*os.File{file},
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := wire.Enter(c.Name, topology.ControlPlane, forwarder.Start); err != nil {
		return 0, fmt.Errorf("starting the forwarder to the API server: %w", err)
	}
	go func() { _ = forwarder.Wait() }() // so that it does not stay a zombie if it ends before this process
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func (c Cluster) forwarderName() string { return filepath.Join(c.layout.Folder, "api-forwarder") }
func (c Cluster) forwarderLog() string  { return filepath.Join(c.layout.Folder, "api-forwarder.log") }

// forwarderPID finds the forwarder by the name it was given, and is 0 when there is none.
func (c Cluster) forwarderPID() int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		command, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && strings.HasPrefix(string(command), c.forwarderName()+"\x00") {
			return pid
		}
	}
	return 0
}

// Forward is the forwarder's life: each connection to the inherited port is joined to one to target.
func Forward(target string) error {
	file := os.NewFile(forwarderListener, "listener")
	if file == nil {
		return errors.New("this is for a process that `cluster up` starts")
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return fmt.Errorf("taking over the port: %w", err)
	}
	file.Close()
	for {
		near, err := listener.Accept()
		if err != nil {
			return fmt.Errorf("waiting for connections: %w", err)
		}
		go join(near, target)
	}
}

func join(near net.Conn, target string) {
	defer near.Close()
	far, err := net.Dial("tcp", target)
	if err != nil {
		return // an API server that is stopped: the caller sees the connection close
	}
	defer far.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		transfer(far, near)
	}()
	transfer(near, far)
	<-done
}

// transfer copies one direction, and passes its end on.
func transfer(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.(*net.TCPConn).CloseWrite()
}
