// SPDX-License-Identifier: Apache-2.0

package election

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	coordinationv1 "k8s.io/api/coordination/v1"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
	"github.com/cloud-provider-l2/cloud-provider-l2/l2/plan"
)

// equalInterfaces compares what was read of interfaces.
var equalInterfaces = cmp.Options{cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()}

// localInterfaces are interfaces as a speaker has them, from what the plan read of them.
func localInterfaces(interfaces []plan.Interface) []LocalInterface {
	var local []LocalInterface
	for _, each := range interfaces {
		prefixes := []netip.Prefix{}
		for i, address := range each.Addresses {
			prefixes = append(prefixes, netip.PrefixFrom(address, each.Subnets[i].Bits()))
		}
		local = append(local, LocalInterface{Name: each.Name, Addresses: prefixes, Down: !each.Up})
	}
	return local
}

// FuzzInterfacesText: the plan and the election read one text on a session Lease, and agree; and what was read is the same when it is written and
// read again.
func FuzzInterfacesText(f *testing.F) {
	for _, text := range []string{
		"", ";", "eth0", "=10.0.0.1/8", "eth0=192.168.1.11/24,fd00::b/64;down:eth1=", "down:=10.0.0.1/8", "down:down:eth0=", "eth0=;eth0=10.0.0.1/8;down:eth0=",
		"eth0=::ffff:10.0.0.1/120", "eth0=fe80::1%eth0/64", "eth0=10.0.0.1/33,10.0.0.1,,10.0.0.1/8", "eth0==10.0.0.1/8", strings.Repeat("a=;", 1000), "\x00=\xff",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read := ParseInterfaces(text)
		up := slices.DeleteFunc(localInterfaces(read), func(each LocalInterface) bool { return each.Down })
		if diff := cmp.Diff(up, parseInterfaces(text), equalInterfaces); diff != "" {
			t.Fatalf("%q (-plan +election):\n%s", text, diff)
		}
		if none := text != "" && len(up) == 0; saysNoneUp(text) != none {
			t.Fatalf("%q says that none is up: %v", text, !none)
		}
		if text == "" { // which nobody writes
			return
		}
		written := FormatInterfaces(localInterfaces(read))
		if diff := cmp.Diff(read, ParseInterfaces(written), equalInterfaces); diff != "" {
			t.Fatalf("%q, written again as %q (-was +is):\n%s", text, written, diff)
		}
	})
}

// FuzzInterfacesOfNode: whatever interfaces a node has, with any name that a kernel takes, others read just these, but for those with one of the signs that part
// the text in their names.
func FuzzInterfacesOfNode(f *testing.F) {
	f.Add("eth0", []byte{192, 168, 1, 11}, uint8(24), false, "bond0.100", []byte{10, 0, 0, 1}, uint8(8), true)
	f.Add("eth0", netip.MustParseAddr("fd00::b").AsSlice(), uint8(64), false, "eth0@if7", []byte{}, uint8(0), true)
	f.Add("down", []byte{192, 168, 1, 11}, uint8(24), true, "down", []byte{}, uint8(0), false)
	f.Add("a,10.0.0.1/8", []byte{192, 168, 1, 11}, uint8(32), true, "%", netip.MustParseAddr("fe80::1").AsSlice(), uint8(64), false)
	f.Add("eth0;eth1=", []byte{192, 168, 1, 11}, uint8(24), false, "=", []byte{10, 0, 0, 1}, uint8(8), false)
	f.Fuzz(func(t *testing.T, name string, raw []byte, bits uint8, down bool, otherName string, otherRaw []byte, otherBits uint8, otherDown bool) {
		var has, told []LocalInterface
		add := func(name string, raw []byte, bits uint8, down bool) {
			if name == "" || len(name) > 15 || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00") {
				return
			}
			each := LocalInterface{Name: name, Down: down}
			if address, ok := netip.AddrFromSlice(raw); ok && !address.Is4In6() {
				each.Addresses = []netip.Prefix{netip.PrefixFrom(address, int(bits)%(address.BitLen()+1))}
			}
			has = append(has, each)
			if !strings.ContainsAny(name, ";=") {
				told = append(told, each)
			}
		}
		add(name, raw, bits, down)
		add(otherName, otherRaw, otherBits, otherDown)
		text := FormatInterfaces(has)
		if diff := cmp.Diff(told, localInterfaces(ParseInterfaces(text)), equalInterfaces); diff != "" {
			t.Fatalf("%+v is written as %q (-told +read):\n%s", has, text, diff)
		}
	})
}

// FuzzRecords: what somebody wrote on a Lease, whatever it is, is read within bounds, as what its name says and as nothing else; it takes nothing away that it
// is not about; a speaker goes on by it without a crash, and stops answering for what is another's.
func FuzzRecords(f *testing.F) {
	vip := names.VIPLease(stepVIP)
	f.Add(vip, "20", "n2", "n2/a", "n1", "", "", "", "", "", int32(4), uint8(0))
	f.Add(vip, "20", "", "", "", `{"mac":"02:00:5e:10:00:01","interface":"eth0","node":"n3","time":"2026-11-23T13:04:05Z"}`, "", "", "", "", int32(1), uint8(0))
	f.Add(vip, "20", "n1", "n1/other", "n1", "yes", "", "", "", "", int32(-1), uint8(8))
	f.Add(vip, "20", "n9", "n9/a", "n9", "", "", "", "", "", int32(1), uint8(255))
	f.Add("vip-fd00--0", "20", "n1", "n1/a", "n3", "{}", "", "", "", "", int32(0), uint8(16))
	f.Add("speaker-n2", "20", "n2/b", "", "", "", "02:00:00:00:00:02,,02:00:00:00:00:03", "eth0=192.168.0.2/16;down:eth1=", "2s", "3", int32(2147483647), uint8(0))
	f.Add("speaker-n2", "20", "", "n2/a", "", "", "what", ";", "-1h", "-5", int32(-2147483648), uint8(7))
	f.Add("speaker-n1", "20", "n1/a", "", "", "", ",", "eth0=192.168.1.200/24", "2562047h", "99999999999999999999", int32(0), uint8(4))
	f.Add("speaker-n1", "20", "", "", "", "", "02:00:00:00:00:01", "", "", "1001", int32(4), uint8(31))
	f.Add("speaker-", "18446744073709551615", "x", "", "", "", "", "", "", "", int32(4), uint8(0))
	f.Add("anything", "-1", "x", "x", "x", "x", "x", "x", "x", "x", int32(4), uint8(0))
	f.Add(vip, "what", "n2", "n2/a", "", "", "", "", "", "", int32(4), uint8(0))
	f.Fuzz(func(t *testing.T, name, version, holds, epoch, successor, conflict, macs, interfaces, backoff, flaps string, seconds int32, marks uint8) {
		object := &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holds, LeaseDurationSeconds: &seconds, LeaseTransitions: &seconds}}
		object.Name, object.ResourceVersion, object.Annotations = name, version, map[string]string{}
		for key, value := range map[string]string{
			names.AnnotationEpoch: epoch, names.AnnotationSuccessor: successor, names.AnnotationConflict: conflict, names.AnnotationMACs: macs,
			names.AnnotationInterfaces: interfaces, names.AnnotationBackOff: backoff, names.AnnotationFlaps: flaps,
		} {
			if value != "" || marks&32 != 0 {
				object.Annotations[key] = value
			}
		}
		for i, key := range []string{names.AnnotationLeaving, names.AnnotationWithdraws, names.AnnotationFencedBy} {
			if marks&(1<<i) != 0 {
				object.Annotations[key] = epoch
			}
		}
		if marks&8 != 0 {
			object.Spec.HolderIdentity, object.Spec.LeaseDurationSeconds = nil, nil
		}

		s := newSteps(t, 3, nil)
		s.view.Targets[stepVIP] = Target{Candidates: []string{"n1", "n2", "n3"}, Eligible: true}
		records := NewRecords()
		for _, node := range []string{"n1", "n2", "n3"} {
			records.Watched(sessionObject(node, Epoch(node+"/a"), 10), s.view.Now)
		}
		own := vipObject("n1", "n1/a", 11)
		own.Name = vip
		records.Watched(own, s.view.Now)
		s.view.Sessions, s.view.Leases = records.sessions, records.leases
		s.core.ClaimEnded(stepVIP, true, s.view.Now)
		s.pass(time.Second)
		if !s.core.Answering(stepVIP) {
			t.Fatal("does not answer to begin with")
		}

		sessions, leases, versions := maps.Clone(records.sessions), maps.Clone(records.leases), maps.Clone(records.versions)
		records.Watched(object, s.view.Now)
		asVIP, isVIP := names.ParseVIPLease(name)
		asNode, isSession := names.ParseSessionLease(name)
		for node, session := range records.sessions {
			if was, there := sessions[node]; (!there || was.Object != session.Object) && (!isSession || node != asNode) {
				t.Fatalf("%q changed the session of %s", name, node)
			}
			if session.Duration <= 0 || session.Duration > MaxSessionDuration {
				t.Fatalf("%d seconds are read as %v", seconds, session.Duration)
			}
		}
		for address, lease := range records.leases {
			if was, there := leases[address]; (!there || was.Object != lease.Object) && (!isVIP || address != asVIP) {
				t.Fatalf("%q changed the Lease of %s", name, address)
			}
			if mac, err := net.ParseMAC(lease.ContestedBy); lease.ContestedBy != "" && (err != nil || len(mac) != 6 || !lease.Contested) {
				t.Fatalf("%q is contested by %q", conflict, lease.ContestedBy)
			}
		}
		if len(records.sessions)+len(records.leases) != len(records.versions) || parseVersion(version) <= versions[name] && !maps.Equal(versions, records.versions) {
			t.Fatalf("version %q: versions %v became %v", version, versions, records.versions)
		}
		told := records.macs()
		for mac, node := range told.Nodes {
			list := records.sessions[node].Object.Annotations[names.AnnotationMACs]
			named := slices.ContainsFunc(strings.Split(list, ","), func(text string) bool {
				read, err := net.ParseMAC(text)
				return err == nil && len(read) == 6 && read.String() == mac
			})
			if !named {
				t.Fatalf("%q is a hardware address of %s, which names %q", mac, node, list)
			}
		}
		timing := DefaultTiming()
		if wait := timing.backoffOf(object); wait < 0 || wait > timing.FenceBackoffMax {
			t.Fatalf("backs off for %v by %q", wait, backoff)
		}
		next := &session{timing: timing}
		next.succeed(&sessionLock{epoch: "n1/b"}, object)
		if next.flaps < 0 || next.flaps > maxFlaps+1 || next.backoff < 0 || next.backoff > timing.FenceBackoffMax {
			t.Fatalf("%d flaps, back-off %v after %q", next.flaps, next.backoff, flaps)
		}

		s.view.MACs = told
		for range 200 { // longer than anybody answers for a VIP that it handed over
			out := s.step()
			for _, fence := range out.Fences {
				if fence.Session.Epoch == "" || fence.Session.Node == "n1" {
					t.Fatalf("fences %+v", fence.Session)
				}
			}
			for _, naming := range out.Namings {
				if naming.Successor != "" && !slices.Contains(s.view.Targets[naming.VIP].Candidates, naming.Successor) {
					t.Fatalf("asks %q to take %s", naming.Successor, naming.VIP)
				}
			}
			if does := len(out.Claims) + len(out.Fences) + len(out.Namings) + len(out.Releases) + len(out.Reads) + len(out.Marks); does > 8 {
				t.Fatalf("%d requests in one step: %+v", does, out)
			}
		}
		if _, stands := s.view.standing("n1", stepVIP); stands == theirs && s.core.Answering(stepVIP) {
			t.Fatalf("answers for what is held by %q", holds)
		}
		records.Deleted(object)
		if _, left := records.versions[name]; left && parseVersion(version) >= versions[name] {
			t.Fatalf("%q was deleted and is still there", name)
		}
	})
}
