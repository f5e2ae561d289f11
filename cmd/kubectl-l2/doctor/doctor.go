// SPDX-License-Identifier: Apache-2.0

// Package doctor finds out from a snapshot what is wrong with a cluster, why that matters and how to mend it. It is pure: a table of
// checks, each of which reads the snapshot and says what it saw. A check whose objects could not be read is skipped and says so; it
// never takes what it cannot see for something that is not there.
package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/snapshot"
	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/view"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// Severity of what a check found.
type Severity string

// Severities, the least first.
const (
	OK      Severity = "OK"
	Skipped Severity = "Skipped" // what is needed for the check could not be read
	Warning Severity = "Warning" // it works, and something will not when it is needed
	Error   Severity = "Error"   // something does not work
)

var severities = []Severity{OK, Skipped, Warning, Error}

// worse tells whether a is worse than b.
func worse(a, b Severity) bool { return slices.Index(severities, a) > slices.Index(severities, b) }

// Finding is one thing that is wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	// Object that it concerns, as in "IPAddressPool lan"; empty when it is the cluster.
	Object string `json:"object,omitempty"`
	Saw    string `json:"saw"`
	Mend   string `json:"mend"`
}

// Result is what one check has to say.
type Result struct {
	Check    string   `json:"check"`
	Severity Severity `json:"severity"`
	// Saw says in short what was looked at.
	Saw string `json:"saw"`
	// Why it matters.
	Why      string    `json:"why"`
	Findings []Finding `json:"findings,omitempty"`
}

// Diagnosis is what `kubectl l2 doctor` tells.
type Diagnosis struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"` // Diagnosis
	Severity   Severity `json:"severity"`
	Checks     []Result `json:"checks"`
	// Unread is what could not be read.
	Unread []snapshot.Unread `json:"unread,omitempty"`
}

// ExitStatus is 2 when something does not work, 1 when something is to be looked at, and else 0. What could not be looked at is 1 too.
func (d Diagnosis) ExitStatus() int {
	switch d.Severity {
	case Error:
		return 2
	case OK:
		return 0
	}
	return 1
}

// Check is one thing to look at.
type Check struct {
	// Name is kept: people grep for it.
	Name string
	// Why it matters.
	Why string
	// Needs are what it reads, as Unread names it. When one of them could not be read, the check is skipped.
	Needs []string
	// Run looks. It says in short what it saw, and what is wrong.
	Run func(*facts) (saw string, findings []Finding)
}

// facts are a snapshot and what follows from it for several checks.
type facts struct {
	*snapshot.Snapshot
	state      plan.State
	explainer  *view.Explainer
	allocation *view.Allocation
	announcing view.Announcing
	sessions   []snapshot.Session
}

// Checks lists all checks, in the order in which they are told: what others depend on first.
func Checks() []Check {
	return slices.Concat(clusterChecks, productChecks, poolChecks, serviceChecks, lanChecks)
}

// Examine runs all checks.
func Examine(s *snapshot.Snapshot) Diagnosis {
	explainer := view.NewExplainer(s)
	f := &facts{Snapshot: s, state: s.State(), explainer: explainer, allocation: explainer.Allocation, announcing: explainer.Announcing, sessions: s.Sessions()}
	diagnosis := Diagnosis{APIVersion: view.APIVersion, Kind: "Diagnosis", Severity: OK, Unread: s.Unread}
	for _, check := range Checks() {
		result := check.result(f)
		if worse(result.Severity, diagnosis.Severity) {
			diagnosis.Severity = result.Severity
		}
		diagnosis.Checks = append(diagnosis.Checks, result)
	}
	return diagnosis
}

func (c Check) result(f *facts) Result {
	result := Result{Check: c.Name, Severity: OK, Why: c.Why}
	for _, needed := range c.Needs {
		if !f.CouldRead(needed) {
			result.Severity, result.Saw = Skipped, "could not read "+needed
			return result
		}
	}
	result.Saw, result.Findings = c.Run(f)
	for _, finding := range result.Findings {
		if worse(finding.Severity, result.Severity) {
			result.Severity = finding.Severity
		}
	}
	return result
}

// ifNone is what was seen by a check that looks for what should not be there.
func ifNone(findings []Finding, none, some string) string {
	if len(findings) == 0 {
		return none
	}
	return some
}

// count says how many of something there are, in English.
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if strings.HasSuffix(one, "s") {
		return fmt.Sprintf("%d %ses", n, one)
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// someOf names a few of many.
func someOf(names []string) string {
	if len(names) <= 10 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:10], ", "), len(names)-10)
}
