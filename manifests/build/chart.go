// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// chartFiles are what the chart takes over as it is, from the folder of the manifests. A chart may not look outside of its own folder.
var chartFiles = map[string]string{
	"base/flowschema.yaml":                   "flowschema.yaml",
	"components/ha/poddisruptionbudget.yaml": "poddisruptionbudget.yaml",
	"controller/rbac.yaml":                   "controller-rbac.yaml",
	"crds/metallb.io_*.yaml":                 "crds",
	"monitoring/cloud-provider-l2.json":      "monitoring",
	"monitoring/prometheusrule.yaml":         "monitoring",
	"monitoring/servicemonitors.yaml":        "monitoring",
	"monitoring/services.yaml":               "monitoring",
	"speaker/rbac.yaml":                      "speaker-rbac.yaml",
}

// chart copies what the chart shares with the manifests into its folder `files`, and removes what it no longer shares.
func chart(manifests, chart string) error {
	wanted, err := chartContent(manifests)
	if err != nil {
		return err
	}
	dir := filepath.Join(chart, "files")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	var errs []error
	for name, content := range wanted {
		file := filepath.Join(dir, name)
		errs = append(errs, os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, content, 0o644))
	}
	return errors.Join(errs...)
}

// chartContent is what belongs into the chart's folder `files`, by name.
func chartContent(manifests string) (map[string][]byte, error) {
	content := map[string][]byte{}
	for pattern, to := range chartFiles {
		sources, err := fs.Glob(os.DirFS(manifests), pattern)
		if err != nil {
			return nil, err
		}
		if len(sources) == 0 {
			return nil, fmt.Errorf("no %s in %s, which the chart needs", pattern, manifests)
		}
		for _, source := range sources {
			name := to
			if filepath.Ext(to) == "" {
				name = filepath.Join(to, filepath.Base(source))
			}
			if content[name], err = os.ReadFile(filepath.Join(manifests, source)); err != nil {
				return nil, err
			}
		}
	}
	return content, nil
}
