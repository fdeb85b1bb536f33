package experiment_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// serve starts a server for workers.
func serve(t *testing.T, o fleet.ServerOptions) *fleet.Server {
	t.Helper()
	o.Folder = t.TempDir()
	if o.Address == "" {
		o.Address = ":0"
	}
	s, err := fleet.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// hire has so many workers work until the test ends.
func hire(t *testing.T, at fleet.Options, n int) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	var work sync.WaitGroup
	for range n {
		work.Go(func() {
			if err := experiment.Work(ctx, at, "cpu", "", t.Logf); !errors.Is(err, context.Canceled) {
				t.Errorf("a worker ends with %v", err)
			}
		})
	}
	t.Cleanup(func() { end(); work.Wait() })
}

// Whose numbers would be others than the run's is turned away with the reason, before it has done anything.
func TestWorkerRefused(t *testing.T) {
	alone := run(t, tiny(t, "toy", append([]string{"methods=[base]", "samples=60"}, plain...)...), "cpu")
	at := fleet.Options{URL: serve(t, fleet.ServerOptions{}).URL()}
	e := oracle.OpenOn(t, "cpu")
	for _, c := range []struct {
		backend string
		about   fleet.Announcement
		want    string
	}{
		{"go", fleet.Announcement{}, "backend is go ("},
		{"cpu", fleet.Announcement{Settings: "another"}, "its settings mean something else here"},
		{"cpu", fleet.Announcement{Data: "another"}, "the data here are others"},
	} {
		c.about.Numbers, c.about.Config = fleet.Local("cpu ("+e.Numerics()+")"), oracle.Read(t, filepath.Join(alone.folder, "config.yaml"))
		trainer, err := fleet.Open(t.Context(), at, c.about, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = experiment.Work(t.Context(), at, c.backend, "", t.Logf)
		if !errors.Is(err, fleet.ErrRefused) {
			t.Errorf("%v: want a refusal", err)
		}
		oracle.WantError(t, err, c.want)
		trainer.Close()
	}
}

// With workers, a run leaves the bytes of one without: all that is learned by watching paths or only their ends, with conditions, with two
// repetitions, of kernels that are fitted. Without any worker it ends too.
func TestWorkers(t *testing.T) {
	for _, c := range []struct {
		kind    string
		workers int
		sets    []string
	}{
		{"toy", 0, append([]string{"methods=[base, importance]", "batch=20", "samples=60"}, plain...)},
		{"toy", 1, append([]string{"methods=[reward_only]", "samples=60"}, plain...)},
		{"toy", 3, append(slices.Clone(several), "batch=20")},
		{"mnist", 2, append([]string{"tasks=[even]", "methods=[base, importance, importance_amplified]", "seeds=2", "importance_amplified.paths=6"}, append(slices.Clone(small), "pool=10", "batch=3")...)},
		{"superres", 2, []string{"methods=[importance, importance_fast, importance_single]", "drawn=50", "measurements=2", "held=1", "samples=2", "process.steps=3"}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			alone := run(t, tiny(t, c.kind, c.sets...), "cpu")
			at := fleet.Options{URL: serve(t, fleet.ServerOptions{}).URL()}
			hire(t, at, c.workers)
			folder := filepath.Join(t.TempDir(), "run")
			if _, err := experiment.Run(t.Context(), tiny(t, c.kind, c.sets...), folder, "cpu", func(experiment.Event) {}, experiment.WithWorkers(at)); err != nil {
				t.Fatal(err)
			}
			same(t, "with workers", outcome(t, alone.folder), outcome(t, folder))
		})
	}
}

// Where an older h drives, nobody waits, and what is learned is what one machine learns with the same staleness: the same h drives the same paths.
func TestWorkersAhead(t *testing.T) {
	sets := append([]string{"methods=[base, importance]", "batch=20", "samples=60", "importance.staleness=1", "importance.iterations=4"}, plain...)
	alone := run(t, tiny(t, "toy", sets...), "cpu")
	at := fleet.Options{URL: serve(t, fleet.ServerOptions{}).URL()}
	hire(t, at, 2)
	folder := filepath.Join(t.TempDir(), "run")
	shown := make(chan int, 1)
	observe := func(ev experiment.Event) { // who looks sees the trainer, that works too, and the two others
		if ev.Iteration == nil || ev.Done != 1 {
			return
		}
		for range 100 {
			look, _ := experiment.Look(os.DirFS(folder))
			if s, ok := look.Workers(); ok && len(s.Workers) == 3 {
				shown <- len(s.Workers)
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	if _, err := experiment.Run(t.Context(), tiny(t, "toy", sets...), folder, "cpu", observe, experiment.WithWorkers(at)); err != nil {
		t.Fatal(err)
	}
	if len(shown) != 1 {
		t.Error("who looks did not see three workers")
	}
	if _, err := os.Stat(filepath.Join(folder, "workers.json")); !os.IsNotExist(err) {
		t.Errorf("what was said of workers is still there: %v", err)
	}
	same(t, "with workers", outcome(t, alone.folder), outcome(t, folder))
}
