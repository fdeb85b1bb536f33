//go:build unix && !aix && !solaris

package runfolder

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// TestHolder is the process of TestKilledProcess: it works in a folder until it is killed.
func TestHolder(t *testing.T) {
	path := os.Getenv("DOOB_TEST_HOLD")
	if path == "" {
		t.Skip("not a test of its own")
	}
	f, err := Create(path, config)
	if err != nil {
		t.Fatal(err)
	}
	f.Event(event{Stage: "base", Done: 1, Result: 1})
	fmt.Println("ready")
	time.Sleep(time.Hour) // select {} would be a deadlock, which ends the process
	runtime.KeepAlive(f)
}

// The lock of a process is good as long as the process lives, and no longer.
func TestKilledProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	cmd := exec.Command(os.Args[0], "-test.run=^TestHolder$")
	cmd.Env = append(os.Environ(), "DOOB_TEST_HOLD="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Errorf("the process says %q, %v", line, err)
	}
	for _, open := range opens {
		_, err := open(path)
		oracle.WantError(t, err, "another process works there", strconv.Itoa(cmd.Process.Pid))
	}
	cmd.Process.Kill()
	cmd.Wait()
	if got, want := oracle.Read(t, filepath.Join(path, "LOCK")), strconv.Itoa(cmd.Process.Pid); got != want {
		t.Errorf("LOCK says %q, want %q", got, want)
	}
	before := tree(t, path)
	_, err = Create(path, config)
	oracle.WantError(t, err, "not empty", "--resume")
	if d := cmp.Diff(before, tree(t, path)); d != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", d)
	}
	f, lines, err := Reopen(path)
	if err != nil || len(lines) != 1 {
		t.Fatalf("%d events, error %v; want 1 event", len(lines), err)
	}
	if got, want := oracle.Read(t, filepath.Join(path, "LOCK")), strconv.Itoa(os.Getpid()); got != want {
		t.Errorf("LOCK says %q, want %q", got, want)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// The LOCK of a process that was killed before it wrote anything else.
func TestOrphanedLock(t *testing.T) {
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, "LOCK"), []byte("4194305000"), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Create(path, config)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := oracle.Read(t, filepath.Join(path, "LOCK")), strconv.Itoa(os.Getpid()); got != want {
		t.Errorf("LOCK says %q, want %q", got, want)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// Owners that remove the file when they are done do not let two in at a time.
func TestLockChangesHands(t *testing.T) {
	path := filepath.Join(t.TempDir(), "LOCK")
	var owners, turns int
	var mutex sync.Mutex
	count := func(n int) int {
		mutex.Lock()
		defer mutex.Unlock()
		owners, turns = owners+n, turns+1
		return owners
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 2000 {
				f, err := acquire(path)
				if err != nil {
					continue
				}
				if n := count(1); n != 1 {
					t.Errorf("%d owners", n)
				}
				count(-1)
				if err := release(f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if turns < 2*100 {
		t.Errorf("%d turns in 8000 attempts", turns/2)
	}
}
