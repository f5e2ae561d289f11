// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/cmd/kubectl-l2/doctor"
	"github.com/cloud-provider-l2/cloud-provider-l2/test/e2e/lab"
)

// What doctor looks at is broken here, on the real cluster, beside what the ailments are. What this cluster cannot have (another version of
// Kubernetes, other load balancers, IPVS) has its objects or its answers, and the name says so.

// Every check has a test that breaks what it looks at.
func TestEveryCheckIsBroken(t *testing.T) {
	broken := map[string]bool{}
	for _, a := range slices.Concat(ailments(), brokenAtOnce(), brokenByProxy(), brokenOneByOne()) {
		broken[a.check] = true
	}
	for _, check := range doctor.Checks() {
		if !broken[check.Name] {
			t.Errorf("no test breaks what %s looks at", check.Name)
		}
		delete(broken, check.Name)
	}
	delete(broken, "") // what explain is asked about
	for name := range broken {
		t.Errorf("there is no check %s", name)
	}
}

// Many things are broken at once, and doctor finds each of them; when all are mended it finds nothing.
func TestDoctorFindsManyThingsAtOnce(t *testing.T) {
	if err := shared.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := begin(t, 3*time.Minute)
	// What works, and goes on: doctor looks at it, too.
	b.apply(pool("lan", "192.168.1.240-192.168.1.242"), advertisement("lan", "lan"), backend().YAML())
	b.holder(b.address("sick"), lab.Anybody)
	var together []string
	for _, a := range brokenAtOnce() {
		together = append(together, a.objects)
	}
	mends := []func(){b.apply(slices.DeleteFunc(together, func(yaml string) bool { return yaml == "" })...)}
	for _, a := range brokenAtOnce() {
		if a.breaks != nil {
			mends = append(mends, a.breaks(b))
		}
	}
	b.findsAll(brokenAtOnce())
	b.must(b.AwaitRollout(b.ctx))
	for _, mend := range slices.Backward(mends) {
		mend()
	}
	var diagnosis doctor.Diagnosis
	if status := b.asks(&diagnosis, func() bool { return diagnosis.Severity == doctor.OK }, "doctor", "-o", "json"); status != 0 {
		t.Errorf("doctor's exit status is %d", status)
	}

	// What an API server may answer that the one of this cluster does not. Through the proxy no speaker is asked: it does not speak what
	// `pods/exec` does.
	server := httptest.NewServer(oldProxy(b))
	defer server.Close()
	b.findsAll(brokenByProxy(), "--server="+server.URL, "--ask-speakers=false")
}

// What disturbs all else is broken one after the other, by `make test-long`.
func TestDoctorFindsWhatDisturbs(t *testing.T) {
	if !*long {
		t.Skip("takes a minute and a half: run by make test-long")
	}
	if err := shared.BuildPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range brokenOneByOne() {
		t.Run(a.name, func(t *testing.T) {
			b := begin(t, 3*time.Minute)
			mend := a.breaks(b)
			b.finds(a.check, a.saw, a.mend)
			mend()
			b.findsNothing(a.check)
			if a.healed != nil {
				a.healed(b)
			}
		})
	}
}

// finds asks doctor until a check finds what is expected.
func (b *bench) finds(check, saw, mend string) {
	b.t.Helper()
	var diagnosis doctor.Diagnosis
	status := b.asks(&diagnosis, func() bool { return (ailment{check: check, saw: saw, mend: mend}).foundBy(diagnosis) }, "doctor", "-o", "json")
	if status != 1 && status != 2 {
		b.t.Errorf("doctor's exit status is %d", status)
	}
}

// findsAll asks doctor until it has found all that is expected, for a minute. Each is a subtest, by whose name it is told what is broken.
func (b *bench) findsAll(all []ailment, flags ...string) {
	b.t.Helper()
	missing := slices.Clone(all)
	limit, cancel := context.WithTimeout(b.ctx, time.Minute)
	defer cancel()
	var said string
	for len(missing) > 0 && limit.Err() == nil {
		var status int
		var err error
		said, status, err = b.Plugin(b.ctx, append([]string{"doctor", "-o", "json"}, flags...)...)
		b.must(err)
		var diagnosis doctor.Diagnosis
		b.must(json.Unmarshal([]byte(said), &diagnosis))
		if status != 2 {
			b.t.Errorf("doctor's exit status is %d", status)
		}
		missing = slices.DeleteFunc(missing, func(a ailment) bool { return a.foundBy(diagnosis) })
	}
	for _, a := range all {
		b.t.Run(a.name, func(t *testing.T) {
			if slices.ContainsFunc(missing, func(m ailment) bool { return m.name == a.name }) {
				t.Errorf("check %s says nothing of %q, to be mended by %q", a.check, a.saw, a.mend)
			}
		})
	}
	if len(missing) > 0 {
		b.t.Fatal("all it says is ", said)
	}
}

// foundBy tells whether a diagnosis says what is expected.
func (a ailment) foundBy(diagnosis doctor.Diagnosis) bool {
	for _, result := range diagnosis.Checks {
		for _, finding := range result.Findings {
			if result.Check == a.check && strings.Contains(finding.Saw, a.saw) && strings.Contains(finding.Mend, a.mend) {
				return true
			}
		}
	}
	return false
}

// findsNothing asks doctor until a check finds nothing.
func (b *bench) findsNothing(check string) {
	b.t.Helper()
	var diagnosis doctor.Diagnosis
	b.asks(&diagnosis, func() bool {
		for _, result := range diagnosis.Checks {
			if result.Check == check {
				return result.Severity == doctor.OK
			}
		}
		return false
	}, "doctor", "-o", "json")
}

// asks runs `kubectl l2` until content is, and returns its last exit status.
func (b *bench) asks(into any, content func() bool, args ...string) int {
	b.t.Helper()
	var said string
	for {
		var status int
		var err error
		said, status, err = b.Plugin(b.ctx, args...)
		if b.ctx.Err() != nil {
			b.t.Fatalf("kubectl l2 %s goes on saying %s, %v", strings.Join(args, " "), said, err)
		}
		b.must(err)
		reflect.ValueOf(into).Elem().SetZero() // what is left out is not what was said before
		if err := json.Unmarshal([]byte(said), into); err != nil {
			b.t.Fatalf("kubectl l2 %s: %v: %s", strings.Join(args, " "), err, said)
		}
		if content() {
			return status
		}
	}
}
