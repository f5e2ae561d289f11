// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Diagnose keeps what explains a failure under out/e2e-logs/<name> and prints a few lines of it. It never fails: whatever cannot be
// had is said in its place.
func (c *Cluster) Diagnose(name string, out io.Writer) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	name = strings.ReplaceAll(name, "/", "-")
	for file, line := range map[string]string{
		"pods.txt":       "kubectl get pods -A -o wide",
		"nodes.txt":      "kubectl get nodes -o wide; kubectl describe nodes",
		"events.txt":     "kubectl get events -A --sort-by=.lastTimestamp",
		"leases.yaml":    "kubectl get leases -n " + Namespace + " -o yaml",
		"services.yaml":  "kubectl get services,endpointslices -A -o yaml",
		"config.yaml":    "kubectl get ipaddresspools,l2advertisements -A -o yaml",
		"controller.log": "kubectl logs -n " + Namespace + " -l component=controller --tail=2000 --timestamps --prefix; kubectl logs -n " + Namespace + " -l component=controller --previous --tail=500 2>/dev/null",
		"speakers.log":   "kubectl logs -n " + Namespace + " -l component=speaker --tail=2000 --timestamps --prefix; kubectl logs -n " + Namespace + " -l component=speaker --previous --tail=500 2>/dev/null",
		"status.txt":     c.command() + " status",
		"client.txt":     c.command() + " exec client -- ip neighbour; " + c.command() + " exec client -- ip route",
	} {
		path, err := c.Out("e2e-logs", name, file)
		if err != nil {
			fmt.Fprintln(out, "keeping logs:", err)
			return
		}
		text, err := c.Shell(ctx, c.Root, line, 20*time.Second)
		if err != nil {
			text += "\n" + err.Error()
		}
		_ = os.WriteFile(path, []byte(text), 0o644)
	}
	fmt.Fprintf(out, "what explains it is in out/e2e-logs/%s; in short:\n", name)
	for _, line := range []string{
		"kubectl get pods -A -o wide --no-headers | grep -v ' Running ' || true",
		"kubectl get leases -n " + Namespace + " --no-headers",
		"kubectl get services -A --no-headers | grep LoadBalancer || true",
		"kubectl get events -A --field-selector type=Warning --sort-by=.lastTimestamp --no-headers | tail -5",
		"kubectl logs -n " + Namespace + " -l app=metallb --tail=4 --prefix",
	} {
		text, _ := c.Shell(ctx, c.Root, line, 10*time.Second)
		if text = strings.TrimSpace(text); text != "" {
			fmt.Fprintln(out, "    "+strings.ReplaceAll(text, "\n", "\n    "))
		}
	}
}
