//go:build linux || darwin

package main

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/fleet"
)

// A trainer and three workers, processes of their own, are killed at random moments, and the server between them is restarted: every run leaves
// the bytes of one that was alone. With DOOB_KILLS=N it goes on, run after run, until N trainers were killed, workers three times as often and the server was
// restarted N/4 times; some are stopped for 30 s, tasks being left to them for 10, and in every second run the server is the trainer's and dies with it.
func TestWorkersKilled(t *testing.T) {
	want, _ := strconv.Atoi(os.Getenv("DOOB_KILLS"))
	long := want > 0
	if want == 0 {
		want = 1
	}
	run := []string{"run", "toy", "--json", "--config", "../../experiment/testdata/tiny.yaml", "--set", "batch=20", "--set", "samples=100",
		"--set", "methods=[base, vargrad, importance, importance_smc]"}
	if long {
		run = append(run, "--set", "importance.iterations=12")
	}
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	execute(t, dir, append(run, "--out", whole)...)

	f := newFleetProcesses(t, dir)
	f.long, f.most = long, [3]int{want, want, (want + 3) / 4}
	if long {
		f.most[1] *= len(f.workers)
	}
	for round := 0; f.trainers < f.most[0] || f.killed < f.most[1] || f.restarts < f.most[2]; round++ {
		folder := filepath.Join(dir, strconv.Itoa(round))
		if f.own = long && round%2 == 1; f.own {
			f.server.Close()
		}
		f.round(t, folder, append(run, "--out", folder))
		if f.own {
			f.serve(t, f.address())
		}
		wantSame(t, whole, folder, nil)
		if t.Failed() {
			t.FailNow()
		}
		t.Logf("round %d: %d trainers and %d workers killed, %d stopped, %d restarts of the server in all", round+1, f.trainers, f.killed, f.stopped, f.restarts)
	}
}

// fleetProcesses are the processes of a run, and what was done to them.
type fleetProcesses struct {
	random                              *rand.Rand
	dir                                 string
	server                              *fleet.Server
	url                                 string // of the server
	own                                 bool   // the trainer's own server takes its place
	workers                             []*exec.Cmd
	long                                bool     // processes are stopped, too
	asleep                              sync.Map // those that are
	most                                [3]int   // trainers that are killed, workers, restarts
	trainers, killed, stopped, restarts int
}

// newFleetProcesses starts a server and three workers, which end with the test.
func newFleetProcesses(t *testing.T, dir string) *fleetProcesses {
	t.Helper()
	f := &fleetProcesses{random: rand.New(rand.NewPCG(3, 0)), dir: dir}
	f.serve(t, ":0")
	t.Cleanup(func() { f.server.Close() })
	for range 3 {
		f.workers = append(f.workers, f.start(t, "worker", f.url))
	}
	t.Cleanup(func() {
		for _, w := range f.workers {
			w.Process.Kill()
			w.Wait()
		}
	})
	return f
}

func (f *fleetProcesses) serve(t *testing.T, address string) {
	t.Helper()
	var err error
	if f.server, err = fleet.Listen(fleet.ServerOptions{Address: address, Folder: filepath.Join(f.dir, "server")}); err != nil {
		t.Fatal(err)
	}
	f.url = f.server.URL()
}

func (f *fleetProcesses) address() string { return strings.TrimPrefix(f.url, "nats://") }

// start starts doob with a store of its own.
func (f *fleetProcesses) start(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("doob", args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), "DOOB_DATA="+filepath.Join(f.dir, "data")), &strings.Builder{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// round lets a run come to its end, whatever happens to it.
func (f *fleetProcesses) round(t *testing.T, folder string, args []string) {
	t.Helper()
	for !exists(filepath.Join(folder, "report.json")) {
		if exists(filepath.Join(folder, "config.yaml")) {
			args = []string{"run", "--json", "--resume", folder}
		}
		at := []string{"--workers", f.url}
		if f.own {
			at = []string{"--serve-workers", f.address()}
		}
		f.life(t, slices.Concat(args, at))
	}
}

// life is one of a trainer: until it has ended its run, or is killed, but not before it has got on by an event.
func (f *fleetProcesses) life(t *testing.T, args []string) {
	t.Helper()
	cmd, out, complaint := started(t, []string{"DOOB_DATA=" + filepath.Join(f.dir, "data")}, args...)
	defer cmd.Process.Kill() // where the test fails before
	var events atomic.Int64
	var wait sync.WaitGroup
	ended := make(chan struct{})
	wait.Go(func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if strings.Contains(lines.Text(), `"iteration":{`) || strings.Contains(lines.Text(), `"result"`) {
				events.Add(1)
			}
		}
		close(ended)
	})
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		case <-time.After(time.Duration(f.random.Float64() * float64(2*time.Second))):
			f.strike(t, cmd, events.Load() > 0)
		}
	}
	wait.Wait()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("%v: %s", err, complaint.String())
	}
}

// strike does something to somebody.
func (f *fleetProcesses) strike(t *testing.T, trainer *exec.Cmd, got bool) {
	t.Helper()
	i, odds := f.random.IntN(len(f.workers)), f.random.IntN(10)
	victim := f.workers[i].Process
	if odds < 4 || odds == 9 {
		victim = trainer.Process
	}
	if _, sleeps := f.asleep.Load(victim); sleeps {
		return // until it has slept for as long as it shall
	}
	switch {
	case odds < 4:
		if got && f.trainers < f.most[0] {
			f.trainers++
			victim.Kill()
		}
	case odds < 7:
		if f.killed < f.most[1] {
			f.killed++
			victim.Kill()
			var exit *exec.ExitError
			if err := f.workers[i].Wait(); errors.As(err, &exit) && exit.ExitCode() != -1 {
				t.Fatalf("a worker had ended by itself: %v: %s", err, f.workers[i].Stderr)
			}
			f.workers[i] = f.start(t, "worker", f.url)
		}
	case odds == 7:
		if f.restarts < f.most[2] && !f.own {
			f.restarts++
			address := f.address()
			f.server.Close()
			time.Sleep(time.Duration(f.random.Float64() * float64(time.Second)))
			f.serve(t, address)
		}
	case f.long && f.random.IntN(8) < map[int]int{8: 4, 9: 1}[odds]: // the trainer less often than a worker: then all wait
		f.stopped++
		f.asleep.Store(victim, true)
		victim.Signal(syscall.SIGSTOP)
		time.AfterFunc(30*time.Second, func() {
			victim.Signal(syscall.SIGCONT)
			f.asleep.Delete(victim)
		})
	}
}
