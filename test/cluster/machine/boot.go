// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

// Verb is the hidden command that makes this program a machine's first process.
const Verb = "machine-init"

// Config is what the first process of a machine needs to know.
type Config struct {
	Cluster string
	Host    string
	Folder  string // where the host keeps its files; its own for as long as it lives
	// Binds are folders of the host that appear at other places in it, such as /run.
	Binds []Bind
	// Sysctls are settings of the whole computer that the host's programs want to see, and must not change.
	Sysctls map[string]string
}

// Bind makes Source, which is made when missing, appear at Target.
type Bind struct{ Source, Target string }

// Socket is where the machine listens for orders.
func Socket(folder string) string { return filepath.Join(folder, socketName) }

// LogFile is where a process of the machine writes what it has to say.
func LogFile(folder, process string) string { return filepath.Join(folder, logFolder, process+".log") }

// Boot starts a machine in the network namespace of its host and waits until it takes orders.
func Boot(config Config) (*Machine, error) {
	if err := os.MkdirAll(filepath.Join(config.Folder, logFolder), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of %s: %w", config.Host, err)
	}
	argument, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("describing %s: %w", config.Host, err)
	}
	logPath := LogFile(config.Folder, "machine")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", config.Host, err)
	}
	defer log.Close()
	init := exec.Command("/proc/self/exe", Verb, string(argument))
	init.Stdout, init.Stderr = log, log
	init.Dir = "/"
	init.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := wire.Enter(config.Cluster, config.Host, init.Start); err != nil {
		return nil, fmt.Errorf("starting %s in namespaces of its own: %w", config.Host, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- init.Wait() }()
	for deadline := time.After(10 * time.Second); ; {
		machine, err := Dial(config.Folder)
		if err == nil {
			return machine, nil
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("%s ended while it started: %v\n%s", config.Host, err, Tail(logPath, 5))
		case <-deadline:
			return nil, fmt.Errorf("%s does not answer: %w\n%s", config.Host, err, Tail(logPath, 5))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Tail is the end of a log, indented, for an error message.
func Tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || len(content) == 0 {
		return "    (its log " + path + " is empty)"
	}
	if err != nil {
		return fmt.Sprintf("    (its log cannot be read: %v)", err)
	}
	last := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	if len(last) > lines {
		last = last[len(last)-lines:]
	}
	return "    " + strings.Join(last, "\n    ") + "\n    (more in " + path + ")"
}
