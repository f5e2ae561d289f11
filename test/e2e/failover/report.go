// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The design's targets, which the report puts beside what was measured.
const (
	targetMedian     = 600 * time.Millisecond // cable cut
	targetP95        = 800 * time.Millisecond
	targetFastMedian = 350 * time.Millisecond
	targetVIPs       = 1500 * time.Millisecond // the last of a third of 1,000
	targetPlanned    = 1500                    // connections of a hand-over, of which none may fail
	targetRest       = 1.0                     // writes a second and speaker
	targetSpeaker    = 4.0                     // writes for each new Service
	targetController = 5.0
	targetRSS        = 60.0 // MB
)

var variants = []string{"default", "fast"}

// measured is all that is there of one fault.
type measured struct {
	fault
	samples []*sample
	figures []figures
}

// report writes out's report and plots from the raw data that is there.
func report(_ context.Context, root string, o options) error {
	if o.task == "soak" {
		fmt.Println("report:", filepath.Join(o.out, "report.md"))
		return nil
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# Failover, measured\n\n%s\n\nLast command: `%s`, %s, at commit %s.\n", thisMachine(), o.command, time.Now().UTC().Format(time.RFC3339), o.commit)
	text.WriteString(introduction)
	for _, variant := range variants {
		all, err := readAll(o.out, variant)
		if err != nil {
			return err
		}
		vips, err := keptVIPs(o.out, variant)
		if err != nil {
			return err
		}
		if len(all) == 0 && len(vips) == 0 {
			continue
		}
		fmt.Fprintf(&text, "\n## `--failover=%s`\n", variant)
		text.WriteString(faultsTable(variant, all))
		text.WriteString(vipsTable(vips))
		for name, plot := range plotsOf(variant, all, vips) {
			if err := os.WriteFile(filepath.Join(o.out, name), []byte(plot), 0o644); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(plotsOf(variant, all, vips))) {
			fmt.Fprintf(&text, "\n![%s](%s)\n", strings.TrimSuffix(name, ".svg"), name)
		}
	}
	name := filepath.Join(o.out, "report.md")
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	if relative, err := filepath.Rel(root, name); err == nil {
		fmt.Println("report:", relative)
	}
	return os.WriteFile(name, []byte(text.String()), 0o644)
}

const introduction = `
A 3-node cluster in network namespaces of this machine. One VIP, for which every node may stand; 100 new connections a second, each with a
limit of 200 ms; a backend on the LAN's gateway, which no fault touches. The speakers run with ` + "`" + noFlapBackoff + "`" + `: the back-off that keeps a
node which fails again and again from holding VIPs is off, in this bench only, since it fails each node every few seconds.

- *gap*: the longest time between two connections that succeeded, from the fault until it is mended. At rest it is about 10 ms.
- *failed*: new connections without an answer in time. *broke*: established ones, which break whenever a VIP moves.
- *nobody*: the longest time between two ARP replies for the VIP, asked for every 20 ms. *two*: the longest time for which two nodes replied.
- *on return*: new connections that failed while the fault was mended and the node came back.
- *late*: how far the client fell behind its own schedule, at worst. A gap of that size is the machine's, not the product's.
`

func readAll(out, variant string) ([]measured, error) {
	var all []measured
	for _, f := range faults {
		samples, err := kept(out, variant, f.name)
		if err != nil {
			return nil, err
		}
		if len(samples) == 0 {
			continue
		}
		m := measured{fault: f, samples: samples}
		for _, s := range samples {
			m.figures = append(m.figures, judge(s))
		}
		all = append(all, m)
	}
	return all, nil
}

// of picks one value of each run.
func (m measured) of(pick func(figures) time.Duration) []time.Duration {
	var values []time.Duration
	for _, f := range m.figures {
		values = append(values, pick(f))
	}
	return values
}

func (m measured) sum(pick func(figures) int) int {
	sum := 0
	for _, f := range m.figures {
		sum += pick(f)
	}
	return sum
}

func (m measured) gaps() []time.Duration { return m.of(func(f figures) time.Duration { return f.Gap }) }

func faultsTable(variant string, all []measured) string {
	if len(all) == 0 {
		return ""
	}
	var t strings.Builder
	t.WriteString("\n| | runs | gap min | p50 | p95 | max | failed | broke | nobody p50 / max | two max | on return | late | target | |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, m := range all {
		gap := spreadOf(m.gaps())
		nobody := spreadOf(m.of(func(f figures) time.Duration { return f.Silence }))
		two := spreadOf(m.of(func(f figures) time.Duration { return f.Both }))
		late := spreadOf(m.of(func(f figures) time.Duration { return f.Late }))
		asks, met := verdict(variant, m)
		fmt.Fprintf(&t, "| %s | %d | %s | %s | %s | %s%s | %d of %d | %d | %s / %s | %s | %d | %s | %s | %s |\n",
			m.title, len(m.figures), round(gap.Min), round(gap.Median), round(gap.P95), openMark(m), round(gap.Max),
			m.sum(func(f figures) int { return f.Failed }), m.sum(func(f figures) int { return f.Requests }), m.sum(func(f figures) int { return f.Broken }),
			round(nobody.Median), round(nobody.Max), round(two.Max), m.sum(func(f figures) int { return f.ReturnFailed }), round(late.Max), asks, met)
	}
	t.WriteString("\n")
	for _, m := range all {
		fmt.Fprintf(&t, "- *%s*: %s. Measured at %s.\n", m.title, m.about, commits(m.samples))
	}
	return t.String()
}

// openMark says that the longest gap is longer than it could be measured.
func openMark(m measured) string {
	for _, f := range m.figures {
		if f.Open {
			return "> "
		}
	}
	return ""
}

// verdict is the design's target for a fault, and whether it is met; both empty when there is none.
func verdict(variant string, m measured) (asks, met string) {
	gap := spreadOf(m.gaps())
	switch {
	case m.planned:
		failed, requests := m.sum(func(f figures) int { return f.Failed }), m.sum(func(f figures) int { return f.Requests })
		if asks = fmt.Sprintf("0 of ≥ %d", targetPlanned); failed == 0 && requests < targetPlanned {
			return asks, "too few"
		}
		return asks, yesNo(failed == 0)
	case m.name == "cut" && variant == "fast":
		return "p50 ≤ " + round(targetFastMedian), yesNo(gap.Median <= targetFastMedian)
	case m.name == "cut":
		return "p50 ≤ " + round(targetMedian) + ", p95 ≤ " + round(targetP95), yesNo(gap.Median <= targetMedian && gap.P95 <= targetP95)
	}
	return "", ""
}

func yesNo(met bool) string {
	if met {
		return "met"
	}
	return "**missed**"
}

// commits that samples were taken at, with how many.
func commits(samples []*sample) string {
	count := map[string]int{}
	for _, s := range samples {
		count[s.Commit]++
	}
	var all []string
	for _, c := range slices.Sorted(maps.Keys(count)) {
		all = append(all, fmt.Sprintf("%s (%d)", c, count[c]))
	}
	return strings.Join(all, ", ")
}

func vipsTable(vips []*vipSample) string {
	if len(vips) == 0 {
		return ""
	}
	var t strings.Builder
	fmt.Fprintf(&t, "\n### %d VIPs, and the cable of the node that holds the most is cut\n\n", vips[0].VIPs)
	fmt.Fprintf(&t, "A VIP is back when another node claims it, by an announcement or a reply; each is asked for every %v. The speakers run with `%s`: before each cut, every node holds its share again.\n\n", vipsAsked, fastRebalance)
	t.WriteString("| cut | VIPs back | first | last | | API writes in that time | a second | API writes a second at rest | speakers' RSS, MiB |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range vips {
		first, last, all := s.back()
		fmt.Fprintf(&t, "| %s | %d of %d | %s | %s | %s | %s | %.0f | %s | %s |\n", s.Node, len(s.Back), s.Held, round(first), round(last), yesNo(all && last <= targetVIPs),
			counts(s.CutWrites, "%s %d"), s.cutWritesPerSecond(), counts(s.RestWrites, "%s %.2f"), counts(s.RSS, "%s %.1f"))
	}
	worst := slices.MaxFunc(vips, func(a, b *vipSample) int { return cmp.Compare(a.restPerSpeaker(), b.restPerSpeaker()) })
	heaviest := slices.MaxFunc(vips, func(a, b *vipSample) int { return cmp.Compare(a.heaviest(), b.heaviest()) })
	fmt.Fprintf(&t, "\n- Target: the last within %s.\n- At rest, a speaker and second: %.2f writes at most; target %.0f: %s.\n- RSS of a speaker: %.1f MB at most; target %.0f: %s.\n",
		round(targetVIPs), worst.restPerSpeaker(), targetRest, yesNo(worst.restPerSpeaker() <= targetRest), heaviest.heaviest(), targetRSS, yesNo(heaviest.heaviest() <= targetRSS))
	for _, s := range vips {
		if c := s.Creation; c != nil {
			fmt.Fprintf(&t, "- Made, and all answered in %.1f s; writes for each Service: %s; targets: speakers %.0f (%s), controller %.0f (%s). Steady ones are included.\n", c.Took,
				counts(c.Writes, "%s %.2f"), targetSpeaker, yesNo(c.Writes["speaker"] <= targetSpeaker), targetController, yesNo(c.Writes["controller"] <= targetController))
		}
	}
	return t.String()
}

// cutWritesPerSecond is how many writes a second were made from the cut until the last VIP was back, or nobody waited any more.
func (s *vipSample) cutWritesPerSecond() float64 {
	_, took, all := s.back()
	if !all {
		took = vipsLimit
	}
	return float64(total(s.CutWrites)) / took.Seconds()
}

// restPerSpeaker is how many writes a second each speaker makes at rest, by the mean.
func (s *vipSample) restPerSpeaker() float64 {
	return s.RestWrites["speaker"] / float64(max(len(s.RSS), 1))
}

// heaviest speaker, in MB.
func (s *vipSample) heaviest() float64 {
	heaviest := 0.0
	for _, mib := range s.RSS {
		heaviest = max(heaviest, mib*(1<<20)/1e6)
	}
	return heaviest
}

// counts writes a map in the order of its keys.
func counts[N int | float64](all map[string]N, format string) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		words = append(words, fmt.Sprintf(format, key, all[key]))
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// plotsOf are the drawings of one variant, by file name.
func plotsOf(variant string, all []measured, vips []*vipSample) map[string]string {
	plots := map[string]string{}
	var lines []named
	for _, m := range all {
		lines = append(lines, named{m.title, m.gaps()})
		if m.name == "cut" {
			title := fmt.Sprintf("Connections around a cable cut, and who answers ARP (--failover=%s; large dots: announcements)", variant)
			plots["timeline-"+variant+".svg"] = timeline(title, median(m))
		}
	}
	targets := []target{{"p50", targetMedian}, {"p95", targetP95}}
	if variant == "fast" {
		targets = []target{{"p50", targetFastMedian}}
	}
	if len(lines) > 0 {
		plots["gaps-"+variant+".svg"] = distribution("Longest gap that a client sees (--failover="+variant+"; dashed: targets for cable cuts)", "gap, ms", lines, targets)
	}
	lines = nil
	for i, s := range vips {
		var back []time.Duration
		for _, ms := range s.Back {
			back = append(back, time.Duration(ms*float64(time.Millisecond)))
		}
		lines = append(lines, named{fmt.Sprintf("cut %d, VIPs:", i+1), back})
	}
	if len(lines) > 0 {
		title := fmt.Sprintf("VIPs of a dead node back at another, of %d in all (--failover=%s)", vips[0].VIPs, variant)
		plots["vips-"+variant+".svg"] = distribution(title, "time since the cut, ms", lines, []target{{"last", targetVIPs}})
	}
	return plots
}

// median is the sample whose gap is the median.
func median(m measured) *sample {
	want := spreadOf(m.gaps()).Median
	return m.samples[slices.Index(m.gaps(), want)]
}

func soakReport(machine string, s *soaked, reasons []string) string {
	var t strings.Builder
	fmt.Fprintf(&t, "# Soak: every core busy\n\n%s\n\n`%s`, %s, at commit %s, with `--failover=%s`: %v with %d busy loops at the speakers' own priority, %d VIPs, and 100 new connections a second to one of them.\n\n",
		machine, s.Command, s.Started.UTC().Format(time.RFC3339), s.Commit, s.Variant, s.Took.Round(time.Second), s.Burning, s.VIPs)
	fmt.Fprintf(&t, "| | |\n|---|---|\n| sessions ended by a peer: false failovers | %d |\n| VIPs that moved | %d |\n| new connections that failed | %d of %d |\n| established ones that broke | %d |\n| longest gap | %s |\n| nobody replied for | %s |\n| two replied for | %s |\n| client late by, at worst | %s |\n",
		s.count(changeFence), s.count(changeMove), s.Failed, s.Requests, s.Broken, round(s.Gap), round(s.Silence), round(s.Both), round(s.Late))
	for _, c := range s.Changes {
		fmt.Fprintf(&t, "\n- %s %s %s: %s to %s", c.At.Sub(s.Started).Round(time.Millisecond), c.Kind, c.What, orNobody(c.From), orNobody(c.To))
	}
	if len(reasons) > 0 {
		const most = 100
		fmt.Fprintf(&t, "\n\nWhat the speakers said of it (%d lines; all is in speakers.log):\n\n```\n%s\n```\n", len(reasons), strings.Join(reasons[:min(len(reasons), most)], "\n"))
	}
	return t.String()
}
