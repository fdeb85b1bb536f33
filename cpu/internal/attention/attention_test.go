package attention_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/attention"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

// operands are those of one attention, and the gradient of its result.
type operands struct{ q, k, v, bias, dy []float32 }

// results are y, dq, dk, dv and dbias.
type results [5][]float32

var names = [5]string{"y", "dq", "dk", "dv", "dbias"}

func random(s attention.Spec, seed uint64) operands {
	r := rand.New(rand.NewPCG(seed, uint64(s.Queries*s.Keys)))
	normal := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	long, short := s.Batch*s.Queries*s.Heads*s.Dim, s.Batch*s.Keys*s.Heads*s.Dim
	o := operands{q: normal(long), k: normal(short), v: normal(short), dy: normal(long)}
	if s.Biased {
		o.bias = normal(s.Batch * s.Keys)
	}
	return o
}

// run computes everything with one instruction set and so many workers.
func run(t *testing.T, s attention.Spec, o operands, table *kern.Table, workers int) results {
	t.Helper()
	p := pool.New(workers)
	defer p.Close()
	a, err := attention.Prepare(s)
	if err != nil {
		t.Fatal(err)
	}
	ctx := kern.NewContext(table, p)
	out := results{make([]float32, len(o.q)), make([]float32, len(o.q)), make([]float32, len(o.k)), make([]float32, len(o.v)), make([]float32, len(o.bias))}
	sums := make([]float32, s.Batch*s.Heads*s.Queries)
	a.Forward(ctx, out[0], sums, o.q, o.k, o.v, o.bias)
	a.Backward(ctx, out[1], out[2], out[3], out[4], o.dy, out[0], sums, o.q, o.k, o.v, o.bias)
	// Without what Forward kept the gradient has the same bits.
	again := results{make([]float32, len(o.q)), slices.Clone(o.q), slices.Clone(o.k), slices.Clone(o.v), slices.Clone(o.bias)}
	a.Forward(ctx, again[0], nil, o.q, o.k, o.v, o.bias)
	a.Backward(ctx, again[1], again[2], again[3], again[4], o.dy, again[0], nil, o.q, o.k, o.v, o.bias)
	for i := range out {
		for j, v := range out[i] {
			if math.Float32bits(v) != math.Float32bits(again[i][j]) {
				t.Fatalf("%s %+v: %s[%d] is %g, without log-sums %g", table.Name, s, names[i], j, v, again[i][j])
			}
		}
	}
	return out
}

// plain computes the same in float64, with all scores of a query at once.
func plain(s attention.Spec, o operands) [5][]float64 {
	out := [5][]float64{make([]float64, len(o.q)), make([]float64, len(o.q)), make([]float64, len(o.k)), make([]float64, len(o.v)), make([]float64, len(o.bias))}
	scale := 1 / math.Sqrt(float64(s.Dim))
	dot := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum
	}
	for b := range s.Batch {
		for h := range s.Heads {
			at := func(tokens, i int) int { return ((b*tokens+i)*s.Heads + h) * s.Dim }
			for i := range s.Queries {
				row := at(s.Queries, i)
				q, dy := o.q[row:][:s.Dim], o.dy[row:][:s.Dim]
				keys := s.Keys
				if s.Causal {
					keys = min(keys, i+1)
				}
				p, most, sum := make([]float64, keys), math.Inf(-1), 0.0
				for j := range p {
					p[j] = dot(q, o.k[at(s.Keys, j):][:s.Dim]) * scale
					if s.Biased {
						p[j] += float64(o.bias[b*s.Keys+j])
					}
					most = max(most, p[j])
				}
				for j := range p {
					p[j] = math.Exp(p[j] - most)
					sum += p[j]
				}
				mean, dp := 0.0, make([]float64, keys)
				for j := range p {
					p[j] /= sum
					dp[j] = dot(dy, o.v[at(s.Keys, j):][:s.Dim])
					mean += p[j] * dp[j]
				}
				for j := range p {
					ds, key := p[j]*(dp[j]-mean), at(s.Keys, j)
					if s.Biased {
						out[4][b*s.Keys+j] += ds
					}
					for d := range s.Dim {
						out[0][row+d] += p[j] * float64(o.v[key+d])
						out[1][row+d] += scale * ds * float64(o.k[key+d])
						out[2][key+d] += scale * ds * float64(o.q[row+d])
						out[3][key+d] += p[j] * float64(o.dy[row+d])
					}
				}
			}
		}
	}
	return out
}

// near fails where a result is further from what is wanted than so many times the largest entry, or than least if that is larger.
func near(t *testing.T, what string, got []float32, want []float64, tolerance, least float64) {
	t.Helper()
	largest := least
	for _, w := range want {
		largest = max(largest, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= tolerance*largest) {
			t.Fatalf("%s[%d] is %g, want %g; the largest is %g", what, i, got[i], w, largest)
		}
	}
}

func everyTable(t *testing.T, f func(t *testing.T, table *kern.Table)) {
	for _, table := range kern.Tables() {
		t.Run(table.Name, func(t *testing.T) { f(t, table) })
	}
}

func shapes() []attention.Spec {
	var out []attention.Spec
	for _, c := range [][5]int{
		{1, 1, 1, 1, 1}, {2, 4, 1, 3, 2}, // of one key, gradients are exactly 0
		{2, 7, 3, 3, 5}, {1, 13, 77, 2, 40}, {2, 63, 63, 1, 64}, {1, 77, 77, 2, 64}, {1, 101, 97, 1, 80},
		{1, 33, 130, 2, 160}, // two blocks of keys
		{1, 200, 530, 1, 8},  // several blocks of queries, groups of blocks of keys
		{3, 97, 257, 2, 3},
		{1, 14, 70, 1, 321},
	} {
		s := attention.Spec{Batch: c[0], Queries: c[1], Keys: c[2], Heads: c[3], Dim: c[4]}
		biased, causal := s, s
		biased.Biased, causal.Causal, causal.Keys = true, true, s.Queries
		out = append(out, s, biased, causal)
	}
	return append(out, attention.Spec{Batch: 1, Queries: 330, Keys: 330, Heads: 1, Dim: 16, Causal: true})
}

// Against all scores at once in double precision. An entry is a sum of some hundred terms with errors of 2⁻²⁴ each of their size.
func TestAttention(t *testing.T) {
	everyTable(t, func(t *testing.T, table *kern.Table) {
		for _, s := range shapes() {
			o := random(s, 1)
			got, want := run(t, s, o, table, 2), plain(s, o)
			for i := range got {
				near(t, fmt.Sprintf("%+v: %s", s, names[i]), got[i], want[i], 3e-6, 0)
			}
		}
	})
}

// The same bits for any number of workers.
func TestWorkers(t *testing.T) {
	everyTable(t, func(t *testing.T, table *kern.Table) {
		for _, s := range shapes() {
			o := random(s, 2)
			want := run(t, s, o, table, 1)
			for workers := 2; workers <= 4; workers++ {
				got := run(t, s, o, table, workers)
				for i := range got {
					if !slices.Equal(got[i], want[i]) {
						t.Fatalf("%+v: %s of %d workers differs from that of one", s, names[i], workers)
					}
				}
			}
		}
	})
}

// Scores of thousands, first the smaller or first the larger, overflow nothing: the largest one wins.
func TestLargeScores(t *testing.T) {
	everyTable(t, func(t *testing.T, table *kern.Table) {
		for _, factor := range []float32{-1, 1} {
			s := attention.Spec{Batch: 1, Queries: 5, Keys: 700, Heads: 1, Dim: 4}
			o := random(s, 3)
			for i := range o.q {
				o.q[i] = 100 * factor
			}
			for i := range o.k {
				o.k[i] = float32(i / 4)
			}
			winner := 0
			if factor > 0 {
				winner = 699
			}
			got := run(t, s, o, table, 2)
			for i, y := range got[0] {
				if want := o.v[4*winner+i%4]; y != want {
					t.Fatalf("factor %g: y[%d] is %g, want the value %g of key %d", factor, i, y, want, winner)
				}
			}
			// Σ dy·y and dy·v of the winner differ by their rounding, here times 100/√4 and times 699.
			for i, bound := range []float64{1e-3, 1e-4} {
				for _, g := range got[1+i] {
					if !(math.Abs(float64(g)) < bound) {
						t.Fatalf("factor %g: %s of %g where the weights are 0 and 1", factor, names[1+i], g)
					}
				}
			}
		}
	})
}

// A bias of −Inf hides a key, also if a whole block is hidden; if all are, the result is NaN, as 0/0 of a plain softmax.
func TestHiddenKeys(t *testing.T) {
	everyTable(t, func(t *testing.T, table *kern.Table) {
		s := attention.Spec{Batch: 2, Queries: 5, Keys: 600, Heads: 2, Dim: 8, Biased: true}
		o := random(s, 4)
		for i := range o.bias {
			if i%3 == 0 || i < 300 || i >= 590 && i < 600 {
				o.bias[i] = float32(math.Inf(-1))
			}
		}
		got, want := run(t, s, o, table, 2), plain(s, o)
		for i := range got {
			near(t, names[i], got[i], want[i], 3e-6, 0)
		}
		for i := range 600 {
			o.bias[i] = float32(math.Inf(-1))
		}
		y := run(t, s, o, table, 2)[0]
		for i, v := range y {
			if nan := v != v; nan != (i < len(y)/2) {
				t.Fatalf("y[%d] is %g; all keys of the first image are hidden", i, v)
			}
		}
	})
}

// What is not a number stays so, and does not reach queries and heads that do not see it.
func TestNaN(t *testing.T) {
	everyTable(t, func(t *testing.T, table *kern.Table) {
		s := attention.Spec{Batch: 1, Queries: 20, Keys: 300, Heads: 2, Dim: 4}
		o := random(s, 5)
		o.q[8*3] = float32(math.NaN()) // query 3, head 0
		for i, v := range run(t, s, o, table, 2)[0] {
			if nan := v != v; nan != (i/8 == 3 && i%8 < 4) {
				t.Fatalf("query %d, head %d: %g", i/8, i%8/4, v)
			}
		}
	})
}

func TestErrors(t *testing.T) {
	if _, err := attention.Prepare(attention.Spec{Batch: 1, Queries: 2, Keys: 0, Heads: 1, Dim: 4}); err == nil {
		t.Error("no error for no keys")
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic for too few values")
		}
	}()
	s := attention.Spec{Batch: 1, Queries: 2, Keys: 2, Heads: 1, Dim: 4}
	o := random(s, 1)
	o.k = o.k[1:]
	run(t, s, o, kern.Tables()[0], 1)
}
