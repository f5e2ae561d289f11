// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// Manifest is the one file that installs the product, relative to the repository.
const Manifest = "manifests/install.yaml"

// LoadProduct imports the product's images from out/images into every node.
func (c *Cluster) LoadProduct(ctx context.Context) error {
	archives, err := filepath.Glob(filepath.Join(c.Root, "out", "images", "*.tar"))
	if err != nil {
		return err
	}
	archives = forThisMachine(archives)
	if len(archives) == 0 {
		return errors.New("out/images holds no image archives: run `make images` first")
	}
	return c.LoadImages(ctx, archives...)
}

// forThisMachine leaves out archives that are named after another architecture.
func forThisMachine(archives []string) []string {
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	var kept []string
	for _, a := range archives {
		if other == "" || !strings.Contains(filepath.Base(a), other) {
			kept = append(kept, a)
		}
	}
	return kept
}

// ApplyProduct installs the manifest. Pods of an earlier run are replaced, since their image keeps its name when it is rebuilt.
func (c *Cluster) ApplyProduct(ctx context.Context) error {
	_, err := c.Kubectl(ctx, "get", "deployment", "controller", "-n", Namespace)
	again := err == nil
	if _, err := c.Kubectl(ctx, "apply", "-f", filepath.Join(c.Root, Manifest)); err != nil {
		return err
	}
	if again {
		return c.RestartProduct(ctx)
	}
	return c.AwaitRollout(ctx)
}

// RestartProduct replaces every pod of the product, as an upgrade does.
func (c *Cluster) RestartProduct(ctx context.Context) error {
	if _, err := c.Kubectl(ctx, "rollout", "restart", "deployment/controller", "daemonset/speaker", "-n", Namespace); err != nil {
		return err
	}
	return c.AwaitRollout(ctx)
}

// AwaitRollout waits until the product's pods are ready.
func (c *Cluster) AwaitRollout(ctx context.Context) error {
	for _, what := range []string{"daemonset/speaker", "deployment/controller"} {
		if _, err := c.Kubectl(ctx, "rollout", "status", what, "-n", Namespace, "--timeout=120s"); err != nil {
			return fmt.Errorf("waiting for the product: %w", err)
		}
	}
	return nil
}
