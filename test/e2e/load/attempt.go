// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Attempt is a Request by the clock, so that it can be laid beside what others saw at that time.
type Attempt struct {
	Due, Sent, Ended time.Time
	Connected        bool
	Error            string // empty for a success
}

// Succeeded says whether the whole page arrived in time.
func (a Attempt) Succeeded() bool { return a.Error == "" }

// Attempt is the request of a run that began at start.
func (r Request) Attempt(start time.Time) Attempt {
	return Attempt{Due: start.Add(r.Due), Sent: start.Add(r.Sent), Ended: start.Add(r.Ended), Connected: r.Connected, Error: r.Error}
}

// Request is the attempt with its times measured from start.
func (a Attempt) Request(start time.Time) Request {
	return Request{Due: a.Due.Sub(start), Sent: a.Sent.Sub(start), Ended: a.Ended.Sub(start), Connected: a.Connected, Error: a.Error}
}

// Line is how an attempt travels from the probe, without its newline.
func (a Attempt) Line() string {
	return fmt.Sprintf("%d %d %d %t %s", a.Due.UnixNano(), a.Sent.UnixNano(), a.Ended.UnixNano(), a.Connected, strings.ReplaceAll(a.Error, "\n", " "))
}

// ParseAttempt is the inverse of Line.
func ParseAttempt(line string) (Attempt, error) {
	fields := strings.SplitN(line, " ", 5)
	if len(fields) != 5 {
		return Attempt{}, fmt.Errorf("reading the attempt %q: want five fields", line)
	}
	connected, err := strconv.ParseBool(fields[3])
	if err != nil {
		return Attempt{}, fmt.Errorf("reading the attempt %q: %w", line, err)
	}
	a := Attempt{Connected: connected, Error: fields[4]}
	for i, field := range []*time.Time{&a.Due, &a.Sent, &a.Ended} {
		nanos, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return Attempt{}, fmt.Errorf("reading the attempt %q: %w", line, err)
		}
		*field = time.Unix(0, nanos)
	}
	return a, nil
}
