// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// most is how much of a command's output is read: a report of 10,000 VIPs is about 5 MB.
const most = 64 << 20

// NewExecutor returns one that goes through pods/exec, as `kubectl exec` does.
func NewExecutor(config *rest.Config, kube kubernetes.Interface) Executor {
	return &executor{config: config, rest: kube.CoreV1().RESTClient()}
}

type executor struct {
	config *rest.Config
	rest   rest.Interface
}

func (e *executor) Exec(ctx context.Context, pod *corev1.Pod, container string, command ...string) ([]byte, error) {
	url := e.rest.Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: container, Command: command, Stdout: true, Stderr: true,
	}, scheme.ParameterCodec).URL()
	// WebSockets first, and SPDY where a proxy or an old API server does not let them through.
	websocket, err := remotecommand.NewWebSocketExecutor(e.config, http.MethodGet, url.String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(e.config, http.MethodPost, url)
	if err != nil {
		return nil, err
	}
	both, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	output, complaint := bounded{left: most}, bounded{left: 4096}
	if err := both.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &output, Stderr: &complaint}); err != nil {
		if said := strings.TrimSpace(complaint.String()); said != "" {
			return nil, fmt.Errorf("%w: %s", err, said)
		}
		return nil, err
	}
	if output.left < 0 {
		return nil, errors.New("it says more than can be read")
	}
	return output.Bytes(), nil
}

// bounded keeps what is written to it as far as there is room.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(text []byte) (int, error) {
	if b.left -= len(text); b.left >= 0 {
		b.Buffer.Write(text)
	}
	return len(text), nil
}
