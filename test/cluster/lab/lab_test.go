// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/wire"
)

func TestMountPointsAreThoseBelowTheFolder(t *testing.T) {
	table := strings.Join([]string{
		`22 1 254:0 / / rw - ext4 /dev/vda rw`,
		`30 22 0:40 / /var/tmp/cloud-provider-l2/l2/a rw - tmpfs tmpfs rw`,
		`31 30 0:41 / /var/tmp/cloud-provider-l2/l2/a/with\040space rw - tmpfs tmpfs rw`,
		`32 22 0:42 / /var/tmp/cloud-provider-l2/l2-other/a rw - tmpfs tmpfs rw`,
		`33 22 0:43 / /var/tmp/cloud-provider-l2/l2 rw - tmpfs tmpfs rw`,
	}, "\n")
	want := []string{"/var/tmp/cloud-provider-l2/l2/a", "/var/tmp/cloud-provider-l2/l2/a/with space"}
	if got := mountPoints(table, "/var/tmp/cloud-provider-l2/l2"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestOneCommandAtATimeChangesACluster(t *testing.T) {
	c, err := Named("lock-test-" + strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := c.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.lock(); err == nil || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	again, err := c.lock()
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestBusyPortIsNamed(t *testing.T) {
	busy, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port
	_, err = Cluster{Name: "none"}.startForwarder(port)
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) || !strings.Contains(err.Error(), "busy") {
		t.Errorf("error %v", err)
	}
}

func TestStateThatIsNotComplete(t *testing.T) {
	c := Cluster{Name: "x"}
	c.layout.Folder = t.TempDir()
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		state state
		want  string
	}{
		"complete":    {state{BootID: boot, Complete: true}, ""},
		"killed":      {state{BootID: boot}, "did not come to its end"},
		"other boot":  {state{BootID: "other", Complete: true}, "restarted"},
		"from before": {state{}, "restarted"},
	} {
		if err := c.save(test.state); err != nil {
			t.Fatal(err)
		}
		_, err := c.load()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(filepath.Join(c.layout.Folder, "state.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.load(); err == nil {
		t.Error("a cluster that never was is up")
	}
}

func TestStatusTellsTheFirstDoubt(t *testing.T) {
	status := Status{Up: true, Runs: true, Components: []ComponentStatus{{Host: "cp", Name: "etcd", State: "stopped"}}}
	status.doubt("the first")
	status.doubt("the second")
	status.Hosts = []HostStatus{{Name: "client", Condition: wire.CableCut}}
	var text strings.Builder
	status.Print(&text)
	for _, want := range []string{"Not everything runs: the first", "cable cut", "stopped"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
