// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/l2/names"
)

// Request is one request of the product to the API server, as the API server's audit log has it.
type Request struct {
	Account     string // the name of the ServiceAccount
	Verb        string
	Group       string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	Forbidden   bool // by the roles; admission has other reasons to refuse
	At          time.Time
}

// Writes says whether the request was to change something.
func (r Request) Writes() bool { return !slices.Contains([]string{"get", "list", "watch"}, r.Verb) }

// What is the group, resource and subresource, as a role names them.
func (r Request) What() string {
	what := r.Resource
	if r.Subresource != "" {
		what += "/" + r.Subresource
	}
	if r.Group != "" {
		what += "." + r.Group
	}
	return what
}

// Steady says whether the request is what a component asks for as long as it lives, whatever happens in the cluster: renewing its
// session or its leadership.
func (r Request) Steady() bool {
	_, session := names.ParseSessionLease(r.Name)
	return r.Resource == "leases" && (session || r.Name == names.ControllerLease)
}

// AuditEnd is the place in the audit log behind all that was answered until now.
func (c *Cluster) AuditEnd() (int64, error) {
	info, err := os.Stat(c.auditLog())
	if err != nil {
		return 0, fmt.Errorf("looking for the audit log: %w; was the cluster brought up by an older cluster command?", err)
	}
	return info.Size(), nil
}

// AuditSince returns what the product's ServiceAccounts were answered since a place in the audit log. A watch that is still open counts.
func (c *Cluster) AuditSince(place int64) ([]Request, error) {
	file, err := os.Open(c.auditLog())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(place, io.SeekStart); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(file)
	var requests []Request
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return requests, nil // a line without an end is still being written
		}
		if err != nil {
			return nil, err
		}
		request, ok, err := parseAudit(line)
		if err != nil {
			return nil, fmt.Errorf("reading the audit log: %w in %q", err, line)
		}
		if ok {
			requests = append(requests, request)
		}
	}
}

// parseAudit reads one line. The end of a watch is left out: its beginning was counted.
func parseAudit(line []byte) (Request, bool, error) {
	var event struct {
		Stage string    `json:"stage"`
		Verb  string    `json:"verb"`
		At    time.Time `json:"requestReceivedTimestamp"`
		User  struct {
			Name string `json:"username"`
		} `json:"user"`
		Object struct {
			Group       string `json:"apiGroup"`
			Resource    string `json:"resource"`
			Subresource string `json:"subresource"`
			Namespace   string `json:"namespace"`
			Name        string `json:"name"`
		} `json:"objectRef"`
		Answer struct {
			Code int `json:"code"`
		} `json:"responseStatus"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return Request{}, false, err
	}
	if event.Verb == "watch" && event.Stage == "ResponseComplete" && event.Answer.Code == 200 {
		return Request{}, false, nil
	}
	return Request{
		Account: strings.TrimPrefix(event.User.Name, "system:serviceaccount:"+Namespace+":"),
		Verb:    event.Verb, Group: event.Object.Group, Resource: event.Object.Resource, Subresource: event.Object.Subresource,
		Namespace: event.Object.Namespace, Name: event.Object.Name, At: event.At,
		Forbidden: event.Annotations["authorization.k8s.io/decision"] == "forbid",
	}, event.Object.Resource != "", nil
}

// auditLog is where the cluster command keeps the API server's audit log: beside its kubeconfig.
func (c *Cluster) auditLog() string {
	for _, v := range c.environment {
		if kubeconfig, ok := strings.CutPrefix(v, "KUBECONFIG="); ok {
			return filepath.Join(filepath.Dir(kubeconfig), "cp", "log", "audit.log")
		}
	}
	return ""
}
