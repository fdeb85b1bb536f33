//go:build linux || darwin

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
)

// tinyRuns are what is killed.
var tinyRuns = map[string][]string{
	"toy": {"run", "toy", "--json", "--config", "../../experiment/testdata/tiny.yaml",
		"--set", "methods=[base, guidance, vargrad, importance, importance_smc]", "--seeds", "2"},
	"mnist": {"run", "mnist", "--json", "--config", "../../experiment/testdata/tiny_mnist.yaml",
		"--set", "methods=[base, vargrad, importance]", "--set", "tasks=[single_3]", "--set", "pretrain.steps=100"},
}

// A run that is killed at random moments, again and again, ends with the bytes of one that never was.
func TestKill(t *testing.T) {
	for name, run := range tinyRuns {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			whole, pieces := filepath.Join(dir, "whole"), filepath.Join(dir, "pieces")
			events, took := execute(t, dir, append(run, "--out", whole)...)
			k := killer{random: rand.New(rand.NewPCG(1, 0)), store: filepath.Join(dir, "data"), events: events / 8, delay: took / 40, kills: 6}
			k.start(t, pieces, append(run, "--out", pieces)...)
			k.finish(t, pieces, "run", "--json", "--resume", pieces)
			wantSame(t, whole, pieces, nil)
			if k.killed < 3 {
				t.Errorf("it was killed %d times only", k.killed)
			}
		})
	}
}

// A run that is killed and then goes on to more iterations, killed again and again, ends with the bytes of one that had them, and the restart
// of the learning rate, from the start.
func TestKillAndExtend(t *testing.T) {
	for name, run := range tinyRuns {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			whole, pieces := filepath.Join(dir, "whole"), filepath.Join(dir, "pieces")
			_, took := execute(t, dir, append(run, "--out", whole, "--set", "importance.iterations=6", "--set", "importance.restarts=[3]")...)
			k := killer{random: rand.New(rand.NewPCG(2, 0)), store: filepath.Join(dir, "data"), delay: took / 40, kills: 1,
				event: `"iteration":{"iteration":2,"iterations":3,`} // that importance has begun is on disk then
			k.start(t, pieces, append(run, "--out", pieces)...)
			k.event, k.events, k.kills = "", 2, 4
			k.finish(t, pieces, "run", "--json", "--resume", pieces, "--set", "importance.iterations=6")
			wantSame(t, whole, pieces, []string{"config"}) // which is that of when the checkpoint was made
			if k.killed < 3 {
				t.Errorf("it was killed %d times only", k.killed)
			}
		})
	}
}

// killer runs doob and kills it, as often as it shall, at random moments.
type killer struct {
	random        *rand.Rand
	store         string
	event         string        // that comes first, part of a line
	events        int           // at most so many come then
	delay         time.Duration // and at most so much time goes by
	kills, killed int
}

// live runs doob once, and reports whether it was killed.
func (k *killer) live(t *testing.T, args ...string) bool {
	t.Helper()
	cmd, out, complaint := started(t, []string{"DOOB_DATA=" + k.store}, args...)
	// At least one event a life: else a slow machine would never come to an end.
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	wait, begun := k.random.IntN(k.events+1), false
	for lines.Scan() {
		if begun = begun || strings.Contains(lines.Text(), k.event); !begun || k.killed == k.kills {
			continue
		}
		if wait == 0 {
			time.AfterFunc(time.Duration(k.random.Float64()*float64(k.delay)), func() { cmd.Process.Kill() })
		}
		wait--
	}
	err := cmd.Wait()
	if err != nil && cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("%v after %d kills: %s", err, k.killed, complaint.String())
	}
	if err != nil {
		k.killed++
	}
	return err != nil
}

// start runs doob until there is a run folder.
func (k *killer) start(t *testing.T, folder string, args ...string) {
	t.Helper()
	for k.live(t, args...) && !exists(filepath.Join(folder, "config.yaml")) {
	}
}

// finish runs doob until the run is complete.
func (k *killer) finish(t *testing.T, folder string, args ...string) {
	t.Helper()
	for done := exists(filepath.Join(folder, "report.json")) && !strings.Contains(strings.Join(args, " "), "--set"); !done; {
		done = !k.live(t, args...) || exists(filepath.Join(folder, "report.json")) && k.extended(folder, args)
	}
}

// extended reports whether a run that was killed has what it was told to have.
func (k *killer) extended(folder string, args []string) bool {
	text, err := os.ReadFile(filepath.Join(folder, "config.yaml"))
	return err == nil && (!strings.Contains(strings.Join(args, " "), "--set") || strings.Contains(string(text), "restarts: [3]"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// execute runs doob with a store of its own, and returns how many lines it wrote and how long it took.
func execute(t *testing.T, dir string, args ...string) (lines int, took time.Duration) {
	t.Helper()
	start := time.Now()
	cmd := exec.Command("doob", args...)
	cmd.Env = append(os.Environ(), "DOOB_DATA="+filepath.Join(dir, "store"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.Count(string(out), "\n"), time.Since(start)
}

// wantSame compares run folders, byte for byte in all but times, and the named metadata of checkpoints.
func wantSame(t *testing.T, want, got string, except []string) {
	t.Helper()
	for _, sub := range []string{"checkpoint", "samples", "figures"} {
		w, g := contents(t, filepath.Join(want, sub), except), contents(t, filepath.Join(got, sub), except)
		if sub == "checkpoint" && len(w) < 4 {
			t.Errorf("%d checkpoints only", len(w))
		}
		for name := range w {
			if g[name] != w[name] {
				t.Errorf("%s/%s differs", sub, name)
			}
			delete(g, name)
		}
		for name := range g {
			t.Errorf("%s/%s is left over", sub, name)
		}
	}
	w, err := timeless(filepath.Join(want, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := timeless(filepath.Join(got, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("report.json (-want +got):\n%s", d)
	}
	if d := cmp.Diff(iterations(t, want), iterations(t, got)); d != "" {
		t.Errorf("events.jsonl (-want +got):\n%s", d)
	}
	if w, g := text(t, want, "config.yaml"), text(t, got, "config.yaml"); w != g {
		t.Errorf("config.yaml: %s", cmp.Diff(w, g))
	}
	wantNoTemporary(t, got)
	if exists(filepath.Join(got, "LOCK")) {
		t.Error("LOCK is left over")
	}
}

func text(t *testing.T, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// contents are the files in a folder, checkpoints without times and some metadata.
func contents(t *testing.T, dir string, except []string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		if filepath.Base(dir) == "checkpoint" {
			f, err := checkpoint.Load(file)
			if err != nil {
				t.Fatal(err)
			}
			delete(f.Tensors, "seconds")
			for _, key := range except {
				delete(f.Metadata, key)
			}
			file = filepath.Join(t.TempDir(), e.Name())
			if err := checkpoint.Save(file, f); err != nil {
				t.Fatal(err)
			}
		}
		out[e.Name()] = text(t, filepath.Dir(file), e.Name())
	}
	return out
}

// iterations are what events.jsonl tells of the iterations of every stage, without times. What was done again counts as it was the last time: another
// stage, which an extension has gone on with first, may have taken the place of a snapshot.
func iterations(t *testing.T, folder string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for line := range strings.Lines(text(t, folder, "events.jsonl")) {
		var ev struct {
			Seed        uint64
			Task, Stage string
			Done        int
			Iteration   map[string]any
		}
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		if ev.Iteration == nil {
			continue
		}
		delete(ev.Iteration, "seconds")
		delete(ev.Iteration, "iterations") // more, after the run was extended
		told, err := json.Marshal(ev.Iteration)
		if err != nil {
			t.Fatal(err)
		}
		stage := fmt.Sprint(ev.Seed, ev.Task, ev.Stage)
		out[stage] = append(out[stage][:min(len(out[stage]), ev.Done-1)], string(told))
	}
	return out
}
