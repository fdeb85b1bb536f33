//go:build unix

package external

import (
	"os/exec"
	"syscall"
)

// alone starts the program in a process group of its own: an interrupt from the terminal is for doob, which then ends the program.
func alone(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// slay kills the program and all that it has started.
func slay(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
