package attention_test

import (
	"runtime"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/attention"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

// At 4096 tokens the scores would take 64 MiB. Forward packs keys and values, little more than those take, and has half a
// megabyte for each worker; the gradient also has parts of dq, less than a quarter of the scores. After that nothing is allocated.
func TestMemory(t *testing.T) {
	s := attention.Spec{Batch: 1, Queries: 4096, Keys: 4096, Heads: 1, Dim: 40}
	o := random(s, 6)
	y, dq, dk, dv := slices.Clone(o.q), slices.Clone(o.q), slices.Clone(o.q), slices.Clone(o.q)
	p := pool.New(2)
	defer p.Close()
	ctx := kern.NewContext(kern.Tables()[0], p)
	a, err := attention.Prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	sums := make([]float32, 4096)
	forward := func() { a.Forward(ctx, y, sums, o.q, o.k, o.v, nil) }
	backward := func() { a.Backward(ctx, dq, dk, dv, nil, o.dy, y, sums, o.q, o.k, o.v, nil) }
	allocated := func(f func()) float64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / 1e6
	}
	if mb := allocated(forward); mb > 3 {
		t.Errorf("forward allocates %.1f MB, want at most 3", mb)
	}
	if mb := allocated(backward); mb > 18 {
		t.Errorf("the gradient allocates %.1f MB, want at most 18", mb)
	}
	// A worker may get its first part only now.
	if mb := allocated(forward) + allocated(backward); mb > 3 {
		t.Errorf("another run allocates %.1f MB", mb)
	}
}

// A worker that has had a part allocates no more; one has had all of them.
func TestRunAllocatesNothing(t *testing.T) {
	for _, s := range shapes() {
		o := random(s, 7)
		out := results{slices.Clone(o.q), slices.Clone(o.q), slices.Clone(o.k), slices.Clone(o.v), slices.Clone(o.bias)}
		p := pool.New(1)
		ctx := kern.NewContext(kern.Tables()[0], p)
		a, err := attention.Prepare(s)
		if err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(2, func() {
			a.Forward(ctx, out[0], nil, o.q, o.k, o.v, o.bias)
			a.Backward(ctx, out[1], out[2], out[3], out[4], o.dy, out[0], nil, o.q, o.k, o.v, o.bias)
		}); n != 0 {
			t.Errorf("%+v: a run makes %v allocations", s, n)
		}
		p.Close()
	}
}
