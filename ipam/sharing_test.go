// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"testing"
)

// TestMayShare checks every refusal: it names what clashes and with whom.
func TestMayShare(t *testing.T) {
	tcp, udp := Port{"TCP", 53}, Port{"UDP", 53}
	holder := Sharing{Key: "k", Ports: []Port{{"TCP", 80}, tcp}}
	local := Sharing{Key: "k", Ports: []Port{{"TCP", 80}}, Backend: "default/app=web"}
	inUse := "1.2.3.4 is in use by default/holder"
	for _, tt := range []struct {
		rule            string
		holder, joining Sharing
		want            string
	}{
		{"same key, other ports", holder, Sharing{Key: "k", Ports: []Port{{"TCP", 443}}}, ""},
		{"same port, other protocol", holder, Sharing{Key: "k", Ports: []Port{udp}}, ""},
		{"same backends", local, Sharing{Key: "k", Ports: []Port{udp}, Backend: "default/app=web"}, ""},
		{"no key on either", Sharing{}, Sharing{}, inUse},
		{"no ports and no key on either", Sharing{Ports: nil}, Sharing{Ports: nil}, inUse},
		{"no key on the joining one", holder, Sharing{Ports: []Port{udp}}, inUse + `, which shares it under the key "k": set the same allow-shared-ip`},
		{"no key on the holder", Sharing{}, Sharing{Key: "k", Ports: []Port{udp}}, inUse + ", which does not share it: give both the same allow-shared-ip"},
		{"other key", holder, Sharing{Key: "l", Ports: []Port{udp}}, inUse + `, which shares it under another key, "k" instead of "l"`},
		{"same port and protocol", holder, Sharing{Key: "k", Ports: []Port{udp, tcp}}, inUse + ", which has port TCP/53 too: use another port or address"},
		{"Local with Cluster", holder, Sharing{Key: "k", Ports: []Port{udp}, Backend: "default/app=web"}, inUse + ", which has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share"},
		{"Local with other backends", local, Sharing{Key: "k", Ports: []Port{udp}, Backend: "default/app=dns"}, inUse + ", which has other backends: with externalTrafficPolicy Local, only Services with the same selector and namespace share"},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			s := newStory(t, pool(t, "a", "1.2.3.4/32"))
			with := func(sharing Sharing) option { return func(r *Request) { r.Sharing = sharing } }
			s.gets("1.2.3.4", "holder", asking("1.2.3.4"), with(tt.holder))
			want := "1.2.3.4"
			if tt.want != "" {
				want = "! " + tt.want
			}
			s.gets(want, "joining", asking("1.2.3.4"), with(tt.joining))
			if tt.want == "" {
				s.gets("1.2.3.4", "by itself", with(Sharing{Key: "k", Ports: []Port{{"TCP", 9999}}, Backend: tt.holder.Backend}))
			} else {
				s.gets("! no free IPv4 address in pool a: 1 of 1 in use", "joining", with(tt.joining))
			}
		})
	}
}

func TestSharedAddressIsFreeWhenTheLastHasLeft(t *testing.T) {
	newStory(t, pool(t, "a", "1.2.4.0/24")).play([]step{
		{id: "first", service: "four", options: []option{asking("1.2.4.3"), sharing("share", "backend", 80)}, want: "1.2.4.3"},
		{id: "second", service: "three", options: []option{asking("1.2.4.3"), sharing("share", "backend", 443)}, want: "1.2.4.3"},
		{id: "shares without asking for the address", service: "five", options: []option{sharing("share", "backend", 53)}, want: "1.2.4.3"},
		{id: "its new port clashes: it moves", service: "five", options: []option{sharing("share", "backend", 80)}, want: "1.2.4.0"},
		{id: "the first leaves", service: "four", released: true},
		{id: "the second stays", service: "three", options: []option{sharing("share", "backend", 443)}, want: "1.2.4.3"},
		{id: "not for others yet", service: "six", options: []option{asking("1.2.4.3")}, want: `! 1.2.4.3 is in use by default/three, which shares it under the key "share": set the same allow-shared-ip`},
		{id: "the second leaves", service: "three", released: true},
		{id: "free", service: "six", options: []option{asking("1.2.4.3")}, want: "1.2.4.3"},
	})
}

// TestKeyThatClashesIsNotTakenOver: while a sharer that changed its key finds no other address, the others still share
// under the old one.
func TestKeyThatClashesIsNotTakenOver(t *testing.T) {
	newStory(t, pool(t, "a", "1.2.4.0/32")).play([]step{
		{id: "first", service: "one", options: []option{sharing("k", "", 80)}, want: "1.2.4.0"},
		{id: "second", service: "two", options: []option{sharing("k", "", 81)}, want: "1.2.4.0"},
		{id: "another key", service: "two", options: []option{sharing("l", "", 81)}, want: "1.2.4.0 ! no free IPv4 address in pool a: 1 of 1 in use"},
		{id: "its port still counts", service: "three", options: []option{asking("1.2.4.0"), sharing("k", "", 81)}, want: "! 1.2.4.0 is in use by default/two, which has port TCP/81 too: use another port or address"},
		{id: "a third under the old key", service: "three", options: []option{sharing("k", "", 82)}, want: "1.2.4.0"},
	})
}

// TestSeparateNamespaces is the option that forbids sharing across namespaces.
func TestSeparateNamespaces(t *testing.T) {
	s := newStory(t, pool(t, "a", "1.2.4.0/30"))
	s.gets("1.2.4.0", "one", sharing("k", "", 80))
	s.gets("1.2.4.0", "two", in("other"), sharing("k", "", 81))
	s.a.SetOptions(Options{SeparateNamespaces: true})
	s.play([]step{
		{id: "same namespace", service: "three", options: []option{sharing("k", "", 82), asking("1.2.4.0")}, want: "! 1.2.4.0 is in use by other/two, which is in another namespace, and this cluster lets Services share only within one: use another address"},
		{id: "those who share already go on", service: "two", options: []option{in("other"), sharing("k", "", 81)}, want: "1.2.4.0"},
		{id: "not by itself either", service: "four", options: []option{in("third"), sharing("k", "", 83)}, want: "1.2.4.1"},
		{id: "within one namespace", service: "five", options: []option{in("third"), sharing("k", "", 84)}, want: "1.2.4.1"},
	})
	again := newStory(t)
	again.a.SetOptions(Options{SeparateNamespaces: true})
	again.a.Restore(again.request("one", sharing("k", "", 80)), addrs("1.2.4.0"), false)
	again.a.Restore(again.request("two", in("other"), sharing("k", "", 81)), addrs("1.2.4.0"), false)
	again.a.SetPools([]Pool{pool(t, "a", "1.2.4.0/30")})
	again.gets("1.2.4.0", "two", in("other"), sharing("k", "", 81)) // also after a restart
}
