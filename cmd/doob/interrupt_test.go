//go:build linux || darwin

package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
)

// smallDisk is doob on a disk where no file can have more than DOOB_FILE_SIZE bytes.
func smallDisk() {
	size, err := strconv.ParseUint(os.Getenv("DOOB_FILE_SIZE"), 10, 63)
	if err != nil {
		panic(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		panic(err)
	}
	limit.Cur = min(limit.Max, size)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		panic(err)
	}
	main()
}

// An interrupt ends a run that would go on for hours: with what it has done, and without what says that it is complete.
func TestInterrupt(t *testing.T) {
	for _, c := range []struct {
		name, event string // that has come when the interrupt does
		signal      os.Signal
		sets        []string
	}{
		{"pretraining", `"stage":"train base","done":60,`, os.Interrupt, []string{"pretrain.steps=100000000"}},
		{"fine-tuning", `"iteration":{`, os.Interrupt, []string{"importance.iterations=100000000"}},
		{"second method", `"stage":"vargrad","done":1,`, syscall.SIGTERM, []string{"vargrad.iterations=100000000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "run")
			args := []string{"run", "toy", "--json", "--config", "../../experiment/testdata/tiny.yaml", "--out", folder,
				"--set", "methods=[importance, vargrad]"}
			for _, s := range c.sets {
				args = append(args, "--set", s)
			}
			cmd, out, complaint := started(t, nil, args...)
			hang := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
			defer hang.Stop()

			var sent time.Time
			lines := bufio.NewScanner(out)
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				if !json.Valid(lines.Bytes()) {
					t.Errorf("standard output has %q", lines.Text())
				}
				if sent.IsZero() && strings.Contains(lines.Text(), c.event) {
					if _, err := os.Stat(filepath.Join(folder, "LOCK")); err != nil {
						t.Errorf("a run without lock: %v", err)
					}
					sent = time.Now()
					if err := cmd.Process.Signal(c.signal); err != nil {
						t.Fatal(err)
					}
				}
			}
			cmd.Wait()
			if sent.IsZero() {
				t.Fatalf("no event %s; standard error: %s", c.event, complaint.String())
			}
			if code := cmd.ProcessState.ExitCode(); code != 130 {
				t.Errorf("exit code %d, want 130; standard error: %s", code, complaint.String())
			}
			if took := time.Since(sent); took > 10*time.Second {
				t.Errorf("it took %v to stop", took)
			}
			if want := "interrupted; doob run --resume " + folder + " finishes it"; !strings.Contains(complaint.String(), want) {
				t.Errorf("standard error: %q, want %q", complaint.String(), want)
			}
			for _, name := range []string{"LOCK", "report.json", "report.html"} {
				if _, err := os.Stat(filepath.Join(folder, name)); !os.IsNotExist(err) {
					t.Errorf("%s: %v, want no such file", name, err)
				}
			}
			if _, err := os.Stat(filepath.Join(folder, "config.yaml")); err != nil {
				t.Error(err)
			}
			wantJSONLines(t, filepath.Join(folder, "events.jsonl"))
			wantCheckpoints(t, folder)
			wantNoTemporary(t, folder)
		})
	}
}

func wantJSONLines(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) == 0 || text[len(text)-1] != '\n' {
		t.Errorf("%s does not end with a newline", path)
	}
	for line := range strings.Lines(string(text)) {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s has the line %q", path, line)
		}
	}
}

// wantCheckpoints loads every checkpoint, and samples one if the base model is among them.
func wantCheckpoints(t *testing.T, folder string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "checkpoint", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		f, err := checkpoint.Load(path)
		if err != nil {
			t.Error(err)
		} else if len(f.Tensors) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
	if exists(filepath.Join(folder, "checkpoint", "base.safetensors")) {
		if out, err := exec.Command("doob", "sample", folder, "-n", "2", "-o", filepath.Join(t.TempDir(), "x.csv")).CombinedOutput(); err != nil {
			t.Errorf("doob sample: %v: %s", err, out)
		}
	}
}

func wantNoTemporary(t *testing.T, folder string) {
	t.Helper()
	filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
		if err != nil || strings.Contains(filepath.Base(path), ".tmp") {
			t.Errorf("%s is left over (%v)", path, err)
		}
		return nil
	})
}

// A disk that fills up ends the run with an error, wherever it happens, and without half a file that looks whole.
func TestFullDisk(t *testing.T) {
	for _, c := range []struct {
		size string
		what string // that cannot be written; "" if nothing is too large
	}{
		{"1", "LOCK"}, {"900", "config.yaml"}, {"1000000", ""}, {"3000", "checkpoint"}, {"30000", "png|html"},
	} {
		t.Run(c.size, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "run")
			cmd := exec.Command("doob-small-disk", "run", "toy", "--config", "../../experiment/testdata/tiny.yaml", "--out", folder,
				"--set", "methods=[base, importance]")
			cmd.Env = append(os.Environ(), "DOOB_FILE_SIZE="+c.size)
			out, err := cmd.CombinedOutput()
			if c.what == "" { // the limit itself does no harm
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
				return
			}
			if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "file too large") || strings.Contains(string(out), "goroutine") {
				t.Errorf("exit code %d, want 1 and the cause: %s", code, out)
			}
			for _, name := range []string{"LOCK", "report.json"} {
				if _, err := os.Stat(filepath.Join(folder, name)); !os.IsNotExist(err) {
					t.Errorf("%s: %v, want no such file", name, err)
				}
			}
			wantNoTemporary(t, folder)
		})
	}
}
