// SPDX-License-Identifier: Apache-2.0

package names

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// AnnotationConflict says, on a VIP Lease, that a host which is no speaker answered for the VIP before it was first claimed; its
// value is a Conflict. Nobody announces the VIP while it is there. Who claims the VIP removes it.
const AnnotationConflict = "cloud-provider-l2/conflict"

// Bounds of what a Conflict may say. An interface's name has less than IFNAMSIZ bytes.
const (
	maxConflict  = 1024
	maxInterface = 15
)

// Conflict is who else uses a VIP, and which speaker saw it.
type Conflict struct {
	// MAC is the other host's hardware address: six bytes, as in 02:00:5e:10:00:01.
	MAC string
	// Interface and Node are where it was seen.
	Interface, Node string
	// Time when it was seen, by that node's clock: for people to read, and never to be compared with another clock.
	Time time.Time
}

// conflictJSON is the form of the annotation.
type conflictJSON struct {
	MAC       string `json:"mac"`
	Interface string `json:"interface"`
	Node      string `json:"node"`
	Time      string `json:"time"`
}

// Format is the value of AnnotationConflict. ParseConflict is its inverse, to the second.
func (c Conflict) Format() string {
	text, err := json.Marshal(conflictJSON{MAC: c.MAC, Interface: c.Interface, Node: c.Node, Time: c.Time.UTC().Format(time.RFC3339)})
	if err != nil { // strings only: there is none
		return ""
	}
	return string(text)
}

// ParseConflict reads the value of AnnotationConflict. Anybody who may write Leases may have written it: an error names what is
// wrong, and what is returned without one is short, printable and well-formed. A value that cannot be read still marks a conflict.
func ParseConflict(text string) (Conflict, error) {
	if len(text) > maxConflict {
		return Conflict{}, fmt.Errorf("annotation %s has %d bytes: at most %d are read", AnnotationConflict, len(text), maxConflict)
	}
	var fields conflictJSON
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return Conflict{}, fmt.Errorf("annotation %s is not the expected JSON: %w", AnnotationConflict, err)
	}
	mac, err := net.ParseMAC(fields.MAC)
	if err != nil || len(mac) != 6 {
		return Conflict{}, fmt.Errorf("annotation %s: mac %q is not a hardware address of six bytes", AnnotationConflict, fields.MAC)
	}
	if !validInterface(fields.Interface) {
		return Conflict{}, fmt.Errorf("annotation %s: interface %q is not the name of an interface", AnnotationConflict, fields.Interface)
	}
	if len(validation.IsDNS1123Subdomain(fields.Node)) > 0 {
		return Conflict{}, fmt.Errorf("annotation %s: node %q is not the name of a node", AnnotationConflict, fields.Node)
	}
	at, err := time.Parse(time.RFC3339, fields.Time)
	if at = at.UTC(); err != nil || at.Year() < 1970 || at.Year() > 9999 {
		return Conflict{}, fmt.Errorf("annotation %s: time %q is not a time in the form of RFC 3339", AnnotationConflict, fields.Time)
	}
	return Conflict{MAC: mac.String(), Interface: fields.Interface, Node: fields.Node, Time: at}, nil
}

func validInterface(name string) bool {
	return name != "" && len(name) <= maxInterface && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '/' })
}
