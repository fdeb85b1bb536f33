package method

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// Base paths are simulated once, and charged to every method that uses them.
func TestPoolIsShared(t *testing.T) {
	pool := &Pool{}
	for _, c := range []struct {
		m      Method
		n, all int // that it uses, and that were simulated by then
	}{{&Base{}, 30, 30}, {&BestOfK{K: 3}, 90, 90}, {&Resampled{}, 70, 90}, {&Base{}, 30, 90}} {
		target := newTarget(t, 1, 30)
		target.Pool, target.PoolSize = pool, 70
		spent := target.Meter()
		draw(t, c.m, target)
		if s := spent(); s.Paths != int64(c.n) || s.Calls != int64(24*c.n) {
			t.Errorf("%s is charged %d paths and %d calls, want %d and 24 times as many", c.m.About().Name, s.Paths, s.Calls, c.n)
		}
		if e := target.Engine; e.Paths() != 0 || e.NetworkCalls() != 0 {
			t.Errorf("%s counts %d paths itself", c.m.About().Name, e.Paths())
		}
		if s := pool.spent; s.Paths != int64(c.all) || s.Calls != int64(24*c.all) || pool.paths.N != c.all {
			t.Errorf("after %s, %d paths were simulated in %d calls, want %d", c.m.About().Name, s.Paths, s.Calls, c.all)
		}
	}
}

// However a pool has grown, it has the same paths; those of another key are others.
func TestPoolGrows(t *testing.T) {
	take := func(seed uint64, numbers ...int) string {
		target := newTarget(t, seed, 10)
		target.Batch = 16
		var last string
		for _, n := range numbers {
			paths, err := target.BasePaths(t.Context(), n, 0)
			if err != nil {
				t.Fatal(err)
			}
			if paths.N != n || len(paths.X) != n || len(paths.LogRatio) != n || len(paths.Energy) != n {
				t.Fatalf("%d of %d paths", paths.N, n)
			}
			last = fmt.Sprint(paths.X, paths.LogRatio, paths.Energy)
		}
		return last
	}
	whole := take(1, 25)
	for _, numbers := range [][]int{{10, 25}, {1, 2, 24, 25}, {40, 25}, {40, 7, 25}} {
		if take(1, numbers...) != whole {
			t.Errorf("grown by %v, the first 25 paths are others", numbers)
		}
	}
	if take(2, 25) == whole {
		t.Error("another seed has the same paths")
	}
	target := newTarget(t, 1, 10)
	first, err := target.BasePaths(t.Context(), 25, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := slices.Clone(first.X)
	target.Keys.Root = noise.New(2)
	other, err := target.BasePaths(t.Context(), 20, 0)
	if err != nil || slices.Equal(other.X, x[:20]) || target.Pool.paths.N != 20 {
		t.Errorf("a pool of another key: %d paths, %v", target.Pool.paths.N, err)
	}
}

// Iteration 1 learns from the pool, and its samples are not those of fewer paths.
func TestPoolIsLearnedFrom(t *testing.T) {
	sample := func(pool int) *Samples {
		target := newTarget(t, 1, 20)
		target.PoolSize = pool
		return draw(t, small(New("importance")), target)
	}
	if none, some := sample(0), sample(300); slices.Equal(none.X, some.X) {
		t.Error("a pool changes nothing")
	}
	// Those that learn from the paths themselves know nothing of it.
	for _, name := range []string{"vargrad", "online", "adjoint_matching"} {
		target := newTarget(t, 1, 20)
		target.PoolSize = 300
		if draw(t, small(New(name)), target); target.Pool.paths.N != 0 {
			t.Errorf("%s has simulated a pool of %d", name, target.Pool.paths.N)
		}
	}
}

// A buffer that is filled before begins with base samples, as many as were asked for, of other noise than what is measured.
func TestPrefill(t *testing.T) {
	target := newTarget(t, 1, 400)
	var prefill []float32
	target.Run = func(_ context.Context, f *finetune.FineTuning, _ htransform.Learned) error {
		prefill = f.Prefill
		if f.First != nil {
			t.Error("there is a pool")
		}
		return nil
	}
	m := small(New("cem")).(*CEM)
	m.Prefill = 400
	draw(t, m, target)
	if len(prefill) != 400 {
		t.Fatalf("%d samples", len(prefill))
	}
	mean, sd := moments(prefill)
	want := ends(0)
	oracle.Near(t, "mean", mean, want.Mean, 4*want.SD/math.Sqrt(400))
	oracle.Near(t, "sd", sd, want.SD, 4*want.SD/math.Sqrt(2*400))
	if base := draw(t, &Base{}, newTarget(t, 1, 400)); slices.Equal(base.X, prefill) {
		t.Error("what the buffer begins with is what the base model is measured by")
	}
}
