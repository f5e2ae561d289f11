// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/arpscan"
)

// get prints the page at a URL and fails unless it came with status 200.
func get(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("get wants one URL")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	page, err := fetch(ctx, http.DefaultClient, args[0])
	if err == nil {
		_, err = io.WriteString(os.Stdout, page)
	}
	return err
}

func fetch(ctx context.Context, client *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", url, response.Status)
	}
	return string(page), nil
}

// census prints, as JSON, every host that answers ARP for the target.
func census(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("census", flag.ContinueOnError)
	name := flags.String("interface", "eth0", "interface to ask on")
	target := flags.String("target", "", "address to ask for")
	requests := flags.Int("requests", 3, "how often to ask")
	every := flags.Duration("every", 100*time.Millisecond, "time between requests")
	window := flags.Duration("window", 300*time.Millisecond, "how long to listen after the last request")
	if err := flags.Parse(args); err != nil {
		return err
	}
	addr, err := netip.ParseAddr(*target)
	if err != nil {
		return fmt.Errorf("census needs --target ADDRESS: %w", err)
	}
	answers, err := arpscan.Scan(ctx, arpscan.Config{Interface: *name, Target: addr, Requests: *requests, Every: *every, Window: *window})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// arping asks once a second and prints each reply, until interrupted or -c requests are sent. It fails when nobody answered.
func arping(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("arping", flag.ContinueOnError)
	name := flags.String("I", "eth0", "interface to ask on")
	count := flags.Int("c", 1<<30, "how often to ask")
	if err := flags.Parse(args); err != nil {
		return err
	}
	addr, err := netip.ParseAddr(flags.Arg(0))
	if err != nil {
		return fmt.Errorf("arping needs an address: %w", err)
	}
	fmt.Printf("ARPING %s on %s\n", addr, *name)
	answers, err := arpscan.Scan(ctx, arpscan.Config{
		Interface: *name, Target: addr, Requests: *count, Every: time.Second, Window: time.Second,
		OnReply: func(from net.HardwareAddr, after time.Duration) {
			fmt.Printf("reply from %s [%s] in %.3f ms\n", addr, from, milliseconds(after))
		},
	})
	if err == nil && len(answers) == 0 {
		return fmt.Errorf("nobody answers for %s", addr)
	}
	return err
}

// neighbours prints the kernel's neighbour table in the words of `arp -a`, for machines without that command.
func neighbours(context.Context, []string) error {
	file, err := os.Open("/proc/net/arp")
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Scan() // the heading
	for lines.Scan() {
		f := strings.Fields(lines.Text()) // address, hardware type, flags, MAC, mask, device
		if len(f) < 6 {
			continue
		}
		mac := f[3] + " [ether]"
		if f[2] == "0x0" {
			mac = "<incomplete>"
		}
		fmt.Printf("? (%s) at %s on %s\n", f[0], mac, f[5])
	}
	return lines.Err()
}
