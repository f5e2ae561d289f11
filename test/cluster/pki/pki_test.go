// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/netip"
	"testing"
)

func TestServerCertificateNamesWhatItIsReachedBy(t *testing.T) {
	authority, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Server("kube-apiserver", []string{"kubernetes.default.svc"},
		[]netip.Addr{netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("fd00:1::10")})
	if err != nil {
		t.Fatal(err)
	}
	certificate := leaf(t, pair)
	for _, name := range []string{"10.96.0.1", "fd00:1::10", "kubernetes.default.svc"} {
		if err := certificate.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if err := certificate.VerifyHostname("10.96.0.2"); err == nil {
		t.Error("the certificate is good for an address that nobody asked for")
	}
	verify(t, authority, certificate, x509.ExtKeyUsageServerAuth)
}

func TestClientCertificateCarriesUserAndGroups(t *testing.T) {
	authority, err := NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Client("system:node:node-1", "system:nodes")
	if err != nil {
		t.Fatal(err)
	}
	certificate := leaf(t, pair)
	subject := certificate.Subject
	if subject.CommonName != "system:node:node-1" || len(subject.Organization) != 1 || subject.Organization[0] != "system:nodes" {
		t.Errorf("subject %v", subject)
	}
	verify(t, authority, certificate, x509.ExtKeyUsageClientAuth)
}

func TestKubeconfigHoldsTheAuthority(t *testing.T) {
	text, err := Kubeconfig("l2", "https://127.0.0.1:1", []byte("authority"), "admin", Pair{Certificate: []byte("c"), Key: []byte("k")})
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Authority []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if got := string(config.Clusters[0].Cluster.Authority); got != "authority" {
		t.Errorf("authority %q", got)
	}
}

func leaf(t *testing.T, pair Pair) *x509.Certificate {
	t.Helper()
	loaded, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return loaded.Leaf
}

func verify(t *testing.T, authority *Authority, certificate *x509.Certificate, usage x509.ExtKeyUsage) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(authority.certificate)
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
		t.Error(err)
	}
}
