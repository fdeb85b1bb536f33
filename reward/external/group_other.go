//go:build !unix

package external

import "os/exec"

func alone(*exec.Cmd) {}

// slay kills the program.
func slay(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
