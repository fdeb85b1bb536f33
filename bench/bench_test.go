package bench

import (
	"errors"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// BenchmarkWork times every work on the default backend. The metric GFLOP/s counts nominal operations.
func BenchmarkWork(b *testing.B) {
	for _, w := range append(Works(), Peak, Exchange) {
		b.Run(w.Name, func(b *testing.B) {
			step, err := w.Build("")
			if errors.Is(err, ErrNotTimed) {
				b.Skip(err)
			}
			if err == nil {
				err = step() // compiles
			}
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := step(); err != nil {
					b.Fatal(err)
				}
			}
			if w.Flop > 0 {
				b.ReportMetric(w.Flop*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			}
			if w.Count > 0 {
				b.ReportMetric(float64(w.Count*b.N)/b.Elapsed().Seconds(), w.Unit+"/s")
			}
		})
	}
}

// BenchmarkTinyStep times a program that does next to nothing: the overhead of one execution.
func BenchmarkTinyStep(b *testing.B) {
	e, err := engine.Open("")
	if err != nil {
		b.Fatal(err)
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{graph.OnePlus(in[0])} })
	if err != nil {
		b.Fatal(err)
	}
	x := uniform(1, 4)
	b.ReportAllocs()
	for b.Loop() {
		out, err := program.Run(x)
		if err != nil {
			b.Fatal(err)
		}
		if err := out[0].FinalizeAll(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestWorks runs every kind of work once, at sizes that take no time.
func TestWorks(t *testing.T) {
	small := map[string]int{"m": 5, "n": 7, "k": 3, "batch": 2, "inputs": 3, "outputs": 5, "width": 16, "depth": 2, "heads": 2, "steps": 2,
		"queries": 7, "keys": 5, "dim": 3, "rows": 5,
		"iterations": 2, "paths": 64, "updates": 2, "samples": 64, "pretraining": 2, "latent": 8}
	seen := map[string]bool{}
	for _, w := range append(Works(), Peak, Exchange) {
		if seen[w.Name] {
			t.Errorf("two works are named %q", w.Name)
		}
		seen[w.Name] = true
		if seen[w.Kind] {
			continue
		}
		seen[w.Kind] = true
		args := map[string]int{}
		for name, value := range w.Args {
			args[name] = value
			if v, ok := small[name]; ok {
				args[name] = v
			}
		}
		t.Run(w.Kind, func(t *testing.T) {
			step, err := Work{Kind: w.Kind, Args: args}.Build("")
			if errors.Is(err, ErrNotTimed) {
				t.Skip(err)
			}
			if err == nil {
				err = step()
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
