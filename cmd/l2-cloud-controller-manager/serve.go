// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/internal/serve"
)

// serve answers /metrics, /healthz and /readyz until SIGTERM.
func (p *process) serve() error {
	listener, err := serve.Listen(p.flags.metricsAddress)
	if err != nil {
		return err
	}
	go func() {
		if err := serve.Run(p.ctx, listener, serve.Always, p.isReady); err != nil {
			exit(err, "Cannot serve metrics", "address", p.flags.metricsAddress)
		}
	}()
	return nil
}

// isReady is true also of a controller that stands by: a rollout must not wait for it to lead.
func (p *process) isReady() (state string, well bool) {
	switch {
	case !p.leading.Load():
		return "ok: standing by", true
	case p.cloud.Ready():
		return "ok: leading", true
	}
	return "leading, but the addresses in use are still being read", false
}
