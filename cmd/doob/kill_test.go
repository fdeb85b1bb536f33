//go:build linux || darwin

package main

import (
	"bufio"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A run that is killed at random moments, again and again, ends with the bytes of one that never was.
func TestKill(t *testing.T) {
	const seed = 1
	dir := t.TempDir()
	whole, pieces := filepath.Join(dir, "whole"), filepath.Join(dir, "pieces")
	start := time.Now()
	if out, err := tinyRun(t, filepath.Join(dir, "data"), "--out", whole).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	took := time.Since(start)

	random := rand.New(rand.NewPCG(seed, 0))
	store := filepath.Join(dir, "other data") // without the networks of the first run
	kills, args := 0, []string{"--out", pieces}
	for {
		cmd := tinyRun(t, store, args...)
		var complaint strings.Builder
		cmd.Stderr = &complaint
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// At least one event a life: else a slow machine would never come to an end.
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		var kill *time.Timer
		for lines.Scan() {
			if kill == nil && kills < 8 {
				kill = time.AfterFunc(time.Duration(random.Float64()*float64(took)/4), func() { cmd.Process.Kill() })
			}
		}
		err = cmd.Wait()
		if err == nil {
			break
		}
		if cmd.ProcessState.ExitCode() != -1 {
			t.Fatalf("%v after %d kills: %s", err, kills, complaint.String())
		}
		kills++
		args = []string{"--resume", pieces}
		if _, err := os.Stat(filepath.Join(pieces, "config.yaml")); err != nil { // killed before it was a run folder
			args = []string{"--out", pieces}
		}
	}
	if kills < 3 {
		t.Errorf("it was killed %d times only", kills)
	}
	files, err := filepath.Glob(filepath.Join(whole, "checkpoint", "*"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d checkpoints: %v", len(files), err)
	}
	for _, sub := range []string{"checkpoint", "samples", "figures"} {
		want, got := contents(t, filepath.Join(whole, sub)), contents(t, filepath.Join(pieces, sub))
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s/%s differs after %d kills", sub, name, kills)
			}
			delete(got, name)
		}
		for name := range got {
			t.Errorf("%s/%s is left over", sub, name)
		}
	}
	wantNoTemporary(t, pieces)
	if _, err := os.Stat(filepath.Join(pieces, "LOCK")); !os.IsNotExist(err) {
		t.Errorf("LOCK: %v, want no such file", err)
	}
}

// tinyRun is doob run: on mnist, unless it resumes.
func tinyRun(t *testing.T, store string, args ...string) *exec.Cmd {
	t.Helper()
	all := []string{"run", "--json"}
	if args[0] != "--resume" {
		all = []string{"run", "mnist", "--json", "--config", "../../experiment/testdata/tiny_mnist.yaml",
			"--set", "methods=[base, vargrad, importance]", "--set", "tasks=[single_3]", "--set", "pretrain.steps=100"}
	}
	cmd := exec.Command("doob", append(all, args...)...)
	cmd.Env = append(os.Environ(), "DOOB_DATA="+store)
	return cmd
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(text)
	}
	return out
}
