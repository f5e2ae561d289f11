// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// tightenSelectors adds validation to every label selector in the given CRDs. The type of a selector is
// apimachinery's own, whose schema takes any operator and any number of expressions, and controller-gen has no way
// to say more about the inside of a type that is not ours.
func tightenSelectors(files []string) error {
	for _, file := range files {
		crd, err := yaml.ReadFile(file)
		if err != nil {
			return err
		}
		count, err := tighten(crd)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		text, err := crd.String()
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		if count == 0 && strings.Contains(text, "matchLabels") { // not every kind has one
			return fmt.Errorf("%s: no label selector found; has controller-gen changed what it writes?", file)
		}
		if err := os.WriteFile(file, []byte("---\n"+text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// expressionLimits bound a selector, so that the API server can bound what its rules cost.
const expressionLimits = `
maxItems: 20
items:
  properties:
    key:
      minLength: 1
      maxLength: 317
    operator:
      enum: [In, NotIn, Exists, DoesNotExist]
      maxLength: 12
    values:
      maxItems: 1000
      items: {maxLength: 63}
      x-kubernetes-list-type: set
  x-kubernetes-validations:
  - rule: "!(self.operator in ['In', 'NotIn']) || has(self.values) && self.values.size() > 0"
    messageExpression: "'operator ' + self.operator + ' of key \"' + self.key + '\" needs values: add at least one'"
  - rule: "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0"
    messageExpression: "'operator ' + self.operator + ' of key \"' + self.key + '\" takes no values: remove them, or use In or NotIn'"
`

// tighten finds label selectors below a node of a schema, and returns how many.
func tighten(node *yaml.RNode) (int, error) {
	switch node.YNode().Kind {
	case yaml.SequenceNode:
		elements, err := node.Elements()
		if err != nil {
			return 0, err
		}
		return tightenEach(elements)
	case yaml.MappingNode:
		expressions, err := node.Pipe(yaml.Lookup("properties", "matchExpressions"))
		if err != nil {
			return 0, err
		}
		if expressions != nil {
			return 1, add(expressions, yaml.MustParse(expressionLimits))
		}
		var values []*yaml.RNode
		err = node.VisitFields(func(field *yaml.MapNode) error {
			values = append(values, field.Value)
			return nil
		})
		if err != nil {
			return 0, err
		}
		return tightenEach(values)
	}
	return 0, nil
}

func tightenEach(nodes []*yaml.RNode) (int, error) {
	total := 0
	for _, node := range nodes {
		count, err := tighten(node)
		if err != nil {
			return 0, err
		}
		total += count
	}
	return total, nil
}

// add sets in target what limits has, field by field, and leaves the rest as it is.
func add(target, limits *yaml.RNode) error {
	return limits.VisitFields(func(limit *yaml.MapNode) error {
		name := limit.Key.YNode().Value
		if existing := target.Field(name); existing != nil && limit.Value.YNode().Kind == yaml.MappingNode {
			return add(existing.Value, limit.Value)
		}
		return target.PipeE(yaml.SetField(name, limit.Value))
	})
}
