// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/cloud-provider-l2/cloud-provider-l2/test/cluster/pki"
)

// api asks the API server the few things that bringing a cluster up needs to know.
type api struct {
	url    string
	client *http.Client
}

func newAPI(port int, authority []byte, admin pki.Pair) (*api, error) {
	certificate, err := tls.X509KeyPair(admin.Certificate, admin.Key)
	if err != nil {
		return nil, fmt.Errorf("reading the administrator's certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return nil, errors.New("the authority's certificate cannot be read")
	}
	return &api{
		url: serverURL(port),
		client: &http.Client{
			Timeout:   5 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}}},
		},
	}, nil
}

// serverURL is the API server as the computer's shell reaches it.
func serverURL(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

// ready says nothing when the API server says it is.
func (a *api) ready(ctx context.Context) error {
	return a.call(ctx, http.MethodGet, "/readyz", nil, nil)
}

// apply creates an object, or merges it into the one that is there.
func (a *api) apply(ctx context.Context, collection, name string, object any) error {
	err := a.call(ctx, http.MethodPost, collection, object, nil)
	var refused *statusError
	if errors.As(err, &refused) && refused.code == http.StatusConflict {
		return a.call(ctx, http.MethodPatch, collection+"/"+name, object, nil)
	}
	return err
}

type nodeReadiness map[string]bool

// nodes says which nodes there are, and whether each is ready.
func (a *api) nodes(ctx context.Context) (nodeReadiness, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := a.call(ctx, http.MethodGet, "/api/v1/nodes", nil, &list); err != nil {
		return nil, err
	}
	readiness := nodeReadiness{}
	for _, node := range list.Items {
		readiness[node.Metadata.Name] = false
		for _, condition := range node.Status.Conditions {
			if condition.Type == "Ready" && condition.Status == "True" {
				readiness[node.Metadata.Name] = true
			}
		}
	}
	return readiness, nil
}

// available is the number of a deployment's pods that serve.
func (a *api) available(ctx context.Context, namespace, deployment string) (int, error) {
	var answer struct {
		Status struct{ AvailableReplicas int }
	}
	err := a.call(ctx, http.MethodGet, "/apis/apps/v1/namespaces/"+namespace+"/deployments/"+deployment, nil, &answer)
	return answer.Status.AvailableReplicas, err
}

// statusError is an answer that is not a success.
type statusError struct {
	code   int
	status string
	text   string
}

func (e *statusError) Error() string { return e.status + ": " + e.text }

func (a *api) call(ctx context.Context, method, path string, object, answer any) error {
	var body io.Reader
	if object != nil {
		text, err := json.Marshal(object)
		if err != nil {
			return fmt.Errorf("writing a request: %w", err)
		}
		body = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, body)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := a.client.Do(request)
	if err != nil {
		return err // names method and URL
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %w", method, path, &statusError{code: response.StatusCode, status: response.Status, text: string(text)})
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	}
	return nil
}
