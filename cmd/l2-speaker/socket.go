// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/component-base/version"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/election"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/inspect"
)

const (
	// defaultStatusSocket is in a directory that the manifests give the pod in memory: its root is read-only.
	defaultStatusSocket = "/run/l2-speaker/status.sock"
	statusPath          = "/v1/status"
	// answerWithin is how long the decision loop may take to say what it does, and statusWithin how long to wait for that.
	answerWithin, statusWithin = 2 * time.Second, 5 * time.Second
	// maxStatus bounds what is read of an answer: that of 100,000 VIPs is less.
	maxStatus = 64 << 20
)

// listenLocally makes a Unix socket that only this user may use, in place of one that a dead predecessor has left.
func listenLocally(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	mask := unix.Umask(0o177) // of the whole process, which makes no other files
	defer unix.Umask(mask)
	return net.Listen("unix", path)
}

// statusHandler answers `l2-speaker status`.
func statusHandler(speaker *election.Speaker, o *options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
		defer cancel()
		status, err := speaker.Status(ctx)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		status.Version, status.ExcludeInterfaces = version.Get().GitVersion, o.excludedInterfaces
		status.Dropped = dropped(legacyregistry.DefaultGatherer)
		w.Header().Set("Content-Type", "application/json")
		// Nobody is left to tell of a connection that has gone.
		_ = json.NewEncoder(w).Encode(status)
	})
	return mux
}

// dropped reads what was dropped, by protocol and reason, from the metrics.
func dropped(gatherer metrics.Gatherer) map[string]map[string]uint64 {
	counts := map[string]map[string]uint64{}
	families, err := gatherer.Gather()
	if err != nil {
		return nil // the rest of the report is worth more than none
	}
	for _, family := range families {
		protocol, wanted := map[string]string{
			"cloud_provider_l2_dropped_packets_total": "", // which it has a label for
			"memberlist_heartbeats_dropped_total":     "heartbeat",
		}[family.GetName()]
		if !wanted {
			continue
		}
		for _, metric := range family.GetMetric() {
			count, of, reason := uint64(metric.GetCounter().GetValue()), protocol, ""
			for _, label := range metric.GetLabel() {
				switch label.GetName() {
				case "protocol":
					of = label.GetValue()
				case "reason":
					reason = label.GetValue()
				}
			}
			if count == 0 {
				continue
			}
			if counts[of] == nil {
				counts[of] = map[string]uint64{}
			}
			counts[of][reason] = count
		}
	}
	return counts
}

// askStatus asks the speaker that listens on a socket.
func askStatus(ctx context.Context, socket string) (inspect.Status, error) {
	client := &http.Client{Timeout: statusWithin, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://speaker"+statusPath, nil)
	if err != nil {
		return inspect.Status{}, err
	}
	response, err := client.Do(request)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED):
		return inspect.Status{}, fmt.Errorf("no speaker listens on %s: run this in the container of a running speaker, with the --status-socket that it has", socket)
	case err != nil:
		return inspect.Status{}, fmt.Errorf("asking the speaker: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxStatus))
	if err != nil {
		return inspect.Status{}, fmt.Errorf("asking the speaker: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return inspect.Status{}, fmt.Errorf("the speaker does not answer: %s", body)
	}
	var status inspect.Status
	if err := json.Unmarshal(body, &status); err != nil {
		return inspect.Status{}, fmt.Errorf("the speaker's answer: %w", err)
	}
	return status, nil
}
