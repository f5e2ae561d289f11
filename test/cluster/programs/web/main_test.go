// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestPageWelcomesAndNamesThePod(t *testing.T) {
	answer := httptest.NewRecorder()
	pages().ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	page := answer.Body.String()
	if answer.Code != 200 || !strings.Contains(page, "Welcome to nginx!") || !strings.Contains(page, hostname) {
		t.Errorf("%d %s", answer.Code, page)
	}
}

func TestOtherPagesAreNotFound(t *testing.T) {
	answer := httptest.NewRecorder()
	pages().ServeHTTP(answer, httptest.NewRequest("GET", "/else", nil))
	if answer.Code != 404 {
		t.Errorf("status %d", answer.Code)
	}
}
