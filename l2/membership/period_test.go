// SPDX-License-Identifier: Apache-2.0

package membership

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// E11: nobody receives more than about 2,000 heartbeats a second, and a period stays within the format's bounds.
func TestScalePeriod(t *testing.T) {
	for _, c := range []struct {
		base     time.Duration
		speakers int
		want     time.Duration
	}{
		{100 * time.Millisecond, 0, 100 * time.Millisecond},
		{100 * time.Millisecond, 3, 100 * time.Millisecond},
		{100 * time.Millisecond, 201, 100 * time.Millisecond},
		{100 * time.Millisecond, 202, 101 * time.Millisecond},
		{100 * time.Millisecond, 1001, 500 * time.Millisecond},
		{50 * time.Millisecond, 201, 100 * time.Millisecond},
		{50 * time.Millisecond, math.MaxInt32, MaxPeriod},
	} {
		if got := ScalePeriod(c.base, c.speakers); got != c.want {
			t.Errorf("ScalePeriod(%v, %d) = %v, want %v", c.base, c.speakers, got, c.want)
		}
	}
}

// scaleTable is what docs/ shows: what heartbeats cost, and how soon a speaker that died is found silent, by the size of the
// cluster. Packets are counted for one interface and both IP families, so there are two for each heartbeat. Silence is judged in
// the first turn of the loop, one a period, after 5.5 periods without a heartbeat, the last of which was up to one before the end.
const scaleTable = `
| Speakers | Period | Packets a second sent | received | kbit/s received | Silent after, of a crash | with --failover=fast: Period | Packets received | Silent after |
|---|---|---|---|---|---|---|---|---|
| 3 | 100 ms | 20 | 40 | 50 | 0.45–0.65 s | 50 ms | 80 | 0.23–0.33 s |
| 10 | 100 ms | 20 | 180 | 324 | 0.45–0.65 s | 50 ms | 360 | 0.23–0.33 s |
| 50 | 100 ms | 20 | 980 | 4900 | 0.45–0.65 s | 50 ms | 1960 | 0.23–0.33 s |
| 100 | 100 ms | 20 | 1980 | 12276 | 0.45–0.65 s | 50 ms | 3960 | 0.23–0.33 s |
| 200 | 100 ms | 20 | 3980 | 24676 | 0.45–0.65 s | 100 ms | 3980 | 0.45–0.65 s |
| 500 | 250 ms | 8 | 3992 | 24750 | 1.12–1.62 s | 250 ms | 3992 | 1.12–1.62 s |
| 1000 | 500 ms | 4 | 3996 | 24775 | 2.25–3.25 s | 500 ms | 3996 | 2.25–3.25 s |
`

func TestScaleTable(t *testing.T) {
	key := testKey(t, secret)
	seconds := func(period time.Duration) string {
		const silence = 5.5
		return fmt.Sprintf("%.2f–%.2f s", (silence-1)*period.Seconds(), (silence+1)*period.Seconds())
	}
	lines := strings.SplitAfterN(scaleTable, "\n", 4)[:3]
	for _, speakers := range []int{3, 10, 50, 100, 200, 500, 1000} {
		usual, fast := ScalePeriod(100*time.Millisecond, speakers), ScalePeriod(50*time.Millisecond, speakers)
		datagram := key.Seal(Heartbeat{Node: "node-1234", Epoch: "node-1234/abcdefghij", Period: usual, Hears: make([]Hearing, speakers-1)})
		received := func(period time.Duration) float64 { return 2 * float64(speakers-1) / period.Seconds() }
		const ethernetIPv4, ethernetIPv6, udp = 14 + 20, 14 + 40, 8
		bits := float64(8*(len(datagram)+udp) + 4*(ethernetIPv4+ethernetIPv6))
		lines = append(lines, fmt.Sprintf("| %d | %d ms | %.0f | %.0f | %.0f | %s | %d ms | %.0f | %s |\n", speakers,
			usual.Milliseconds(), 2/usual.Seconds(), received(usual), received(usual)*bits/1000, seconds(usual),
			fast.Milliseconds(), received(fast), seconds(fast)))
	}
	if diff := cmp.Diff(scaleTable, strings.Join(lines, "")); diff != "" {
		t.Errorf("the table in docs/ and here is another: %s", diff)
	}
}
