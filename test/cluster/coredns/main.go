// SPDX-License-Identifier: Apache-2.0

// Command coredns is CoreDNS with the few plugins a test cluster needs. Its full set pulls in the clients of
// every large cloud; this one builds in a fraction of the time. A module of its own, since its versions are not
// those of Kubernetes.
package main

import (
	"slices"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	plugins := []string{"ready", "health", "errors", "cache", "kubernetes"}
	dnsserver.Directives = slices.DeleteFunc(dnsserver.Directives, func(name string) bool {
		return !slices.Contains(plugins, name)
	})
	coremain.Run()
}
