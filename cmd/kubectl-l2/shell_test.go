// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain is the plugin when the test's program is called by its name, so that a shell finds one in its PATH.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "kubectl-l2" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tab is what bash does when a user types the tabulator key behind the words that are its arguments. Where there is no bash-completion, which
// finds out the words on the command line, the four lines stand for it that it needs for words without = and : in them.
const tab = `
if [ -r /usr/share/bash-completion/bash_completion ]; then
	source /usr/share/bash-completion/bash_completion
else
	_get_comp_words_by_ref() {
		words=("${COMP_WORDS[@]}") cword=$COMP_CWORD cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	}
fi
source <(kubectl-l2 completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9 COMP_KEY=9
COMP_POINT=${#COMP_LINE}
[[ $(complete -p kubectl-l2) =~ -F\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
`

// The script for bash, run by bash, completes commands, formats, and what the cluster has.
func TestBashCompletes(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("there is no bash here")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Symlink(program, filepath.Join(folder, "kubectl-l2")); err != nil {
		t.Fatal(err)
	}
	environment := append(os.Environ(), "PATH="+folder+":"+os.Getenv("PATH"), "KUBECONFIG="+cluster(t))
	for name, tc := range map[string]struct {
		words []string
		want  string
	}{
		"a command":               {[]string{"st"}, "status"},
		"a format":                {[]string{"doctor", "-o", ""}, "json yaml"},
		"the rest of a format":    {[]string{"status", "-o", "w"}, "wide"},
		"a Service":               {[]string{"explain", "we"}, "web"},
		"a namespace of the flag": {[]string{"status", "--namespace", "d"}, "default"},
		"what there is not":       {[]string{"explain", "nothing"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var said, complaint strings.Builder
			bash := exec.CommandContext(t.Context(), "bash", append([]string{"--norc", "-c", tab, "bash", "kubectl-l2"}, tc.words...)...)
			bash.Env, bash.Stdout, bash.Stderr = environment, &said, &complaint
			if err := bash.Run(); err != nil {
				t.Fatalf("%v: %s", err, complaint.String())
			}
			if got := strings.Join(strings.Fields(said.String()), " "); got != tc.want {
				t.Errorf("%q is completed with %q, want %q\n%s", tc.words, got, tc.want, complaint.String())
			}
		})
	}
}
