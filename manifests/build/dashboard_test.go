// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// dashboard is what is looked at of Grafana's JSON model.
type dashboard struct {
	UID, Title string
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Datasource  *source
	Targets     []target
}

type source struct{ Type, UID string }

type target struct {
	RefID, Expr, LegendFormat string
	Datasource                *source
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, "cloud-provider-l2.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// everyTarget calls for every query of the dashboard.
func (d dashboard) everyTarget(call func(panel, target)) {
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			call(p, target)
		}
	}
}

func panelExpressions(t *testing.T) []string {
	t.Helper()
	var all []string
	readDashboard(t).everyTarget(func(_ panel, target target) { all = append(all, target.Expr) })
	return all
}

// What a counter counts is shown as a rate or an increase: it begins anew with every start of a program.
func TestDashboardCountersAreRates(t *testing.T) {
	counted := regexp.MustCompile(`\b\w+_(total|count|bucket|sum|sent|received)\b`)
	gauges := []string{"metallb_allocator_addresses_total", "metallb_allocator_addresses_in_use_total",
		"metallb_allocator_ipv4_addresses_in_use_total", "metallb_allocator_ipv6_addresses_in_use_total"} // MetalLB's names
	readDashboard(t).everyTarget(func(p panel, target target) {
		for _, at := range counted.FindAllStringIndex(target.Expr, -1) {
			name, before := target.Expr[at[0]:at[1]], target.Expr[:at[0]]
			if !slices.Contains(gauges, name) && !strings.HasSuffix(before, "rate(") && !strings.HasSuffix(before, "increase(") {
				t.Errorf("panel %q shows the counter %s as it is: %s", p.Title, name, target.Expr)
			}
		}
	})
}

var (
	legend     = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	aggregated = regexp.MustCompile(`^(?:histogram_quantile\([^,]*, *)?(?:sum|max|min|avg|count)\b(?: by \(([^)]*)\))?`)
)

// A legend names labels that the query's series have left.
func TestDashboardLegends(t *testing.T) {
	known := documentedMetrics(t)
	readDashboard(t).everyTarget(func(p panel, target target) {
		left := slices.Clone(targetLabels)
		if match := aggregated.FindStringSubmatch(target.Expr); match != nil {
			left = strings.Split(match[1], ", ")
		} else {
			for _, name := range metricsAsked(target.Expr) {
				left = append(left, known[name]...)
			}
		}
		for _, match := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
			if !slices.Contains(left, match[1]) {
				t.Errorf("panel %q: the legend %q names %s, and the series of %s have only %v", p.Title, target.LegendFormat, match[1], target.Expr, left)
			}
		}
	})
}

// Panels lie beside each other on Grafana's grid of 24 columns, have identifiers of their own, and ask the data source that the user chose.
func TestDashboardLayout(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" {
		t.Error("the dashboard has no uid, or no title: an import would make a new one each time")
	}
	if list := d.Templating.List; len(list) != 1 || list[0].Name != "datasource" || list[0].Type != "datasource" || list[0].Query != "prometheus" {
		t.Errorf("the variables are %+v, want the data source alone", list)
	}
	ids, taken := map[int]string{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if other, there := ids[p.ID]; there {
			t.Errorf("panels %q and %q both have id %d", other, p.Title, p.ID)
		}
		ids[p.ID] = p.Title
		at := p.GridPos
		if at.X < 0 || at.W < 1 || at.H < 1 || at.X+at.W > 24 {
			t.Errorf("panel %q is beyond the grid: %+v", p.Title, at)
		}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other, there := taken[[2]int{x, y}]; there && other != p.Title {
					t.Errorf("panels %q and %q lie upon each other", other, p.Title)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] || target.RefID == "" {
				t.Errorf("panel %q has the refId %q twice, or an empty one", p.Title, target.RefID)
			}
			refs[target.RefID] = true
		}
		for _, from := range append([]*source{p.Datasource}, sources(p)...) {
			if from == nil || *from != (source{"prometheus", "${datasource}"}) {
				t.Errorf("panel %q asks the data source %+v, want the variable", p.Title, from)
			}
		}
		if len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
	}
}

// sources are the data sources of those queries that name one of their own.
func sources(p panel) []*source {
	var own []*source
	for _, target := range p.Targets {
		if target.Datasource != nil {
			own = append(own, target.Datasource)
		}
	}
	return own
}
