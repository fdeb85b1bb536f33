package main

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// started starts doob as a process of its own, in the environment of the test and more. Its complaint is whole when it has ended.
func started(t *testing.T, env []string, args ...string) (cmd *exec.Cmd, out io.Reader, complaint *strings.Builder) {
	t.Helper()
	complaint = &strings.Builder{}
	cmd = exec.Command("doob", args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out, complaint
}
