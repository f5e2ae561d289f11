// SPDX-License-Identifier: Apache-2.0

// Command build makes what is installed on a cluster: the CRDs' finishing touches, the one rendered manifest, and the
// container images. It needs Go and no Docker, no kustomize and no kubectl. The Makefile calls it; nothing else does.
//
//	build crds FILE…                      tighten the label selectors of generated CRDs, in place
//	build render DIR                      print what `kubectl kustomize DIR` prints
//	build chart MANIFESTS CHART           copy what the Helm chart shares with the manifests into its folder files
//	build images -out DIR -arches A,B …   build image tars and one multi-arch OCI layout for each component
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
)

var commands = map[string]func(context.Context, []string) error{
	"crds":   func(_ context.Context, files []string) error { return tightenSelectors(files) },
	"render": func(_ context.Context, dirs []string) error { return render(dirs, os.Stdout) },
	"chart": func(_ context.Context, args []string) error {
		if len(args) != 2 {
			return fmt.Errorf("chart wants the folder of the manifests and that of the chart, not %d arguments", len(args))
		}
		return chart(args[0], args[1])
	},
	"images": buildImages,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say what to build: crds, render, chart or images")
	}
	command, known := commands[args[0]]
	if !known {
		return fmt.Errorf("%q is none of crds, render, chart and images", args[0])
	}
	return command(ctx, args[1:])
}
