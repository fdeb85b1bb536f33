package finetune

import (
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
)

// recorder stores steps of simulated paths, for methods that see a path as a row of actions whose probability they change. A transition is a row of
// float32,
//
//	x, z, ε_h [dim each], number of the step, reward of the path
//
// which says all that the density of the step needs: from x it went to x' = A·x + K·(ε_θ + ε_h) + S·z. To keep z and ε_h rather than x' makes the ratio
// of two densities exact where they are nearly equal. Steps without control are left out: their ratio is 1.
type recorder struct {
	sampler *diffusion.Sampler
	limit   int // transitions of an iteration
	rows    []float32
	path    []int // of every row
}

// dim returns the numbers of a sample.
func (r *recorder) dim() int { return engine.Size(r.sampler.Shape) }

// width returns the numbers of a transition.
func (r *recorder) width() int { return 3*r.dim() + 2 }

// visitor returns what records an iteration: all its transitions, or as many as the limit says, drawn without repetition.
func (r *recorder) visitor(key noise.Key) diffusion.Visitor {
	r.rows, r.path = nil, nil
	var chosen map[int][]int // paths by step
	return func(p *diffusion.Population) error {
		if chosen == nil {
			chosen = map[int][]int{}
			steps := controlled(r.sampler.Steps)
			for _, j := range key.Rand().Perm(p.N * len(steps))[:min(r.limit, p.N*len(steps))] {
				step := steps[j%len(steps)]
				chosen[step] = append(chosen[step], j/len(steps))
			}
		}
		z := make([]float32, p.Dim)
		for _, i := range chosen[p.Index] {
			p.Noise(i, z)
			r.rows = append(r.rows, p.X[i*p.Dim:(i+1)*p.Dim]...)
			r.rows = append(r.rows, z...)
			r.rows = append(r.rows, p.EpsH[i*p.Dim:(i+1)*p.Dim]...)
			r.rows = append(r.rows, float32(p.Index), 0)
			r.path = append(r.path, i)
		}
		return nil
	}
}

// take returns the transitions of the iteration with what their paths have earned, and forgets them. Those of paths that diverged, or whose reward is −∞,
// are left out.
func (r *recorder) take(batch Weighted, earned []float64) ([]float32, error) {
	width, kept := r.width(), r.rows[:0]
	for j, path := range r.path {
		if row := r.rows[j*width : (j+1)*width]; !math.IsInf(batch.LogW[path], -1) {
			row[width-1] = float32(earned[path])
			kept = append(kept, row...)
		}
	}
	r.rows, r.path = nil, nil
	if len(kept) == 0 {
		return nil, fmt.Errorf("%w: none of the steps that were recorded is of a path with a finite weight", ErrNoWeight)
	}
	return kept, nil
}

// inputs returns transitions as inputs of a graph, see [newPolicy].
func (r *recorder) inputs(rows []float32) []any {
	dim, width := r.dim(), r.width()
	n := len(rows) / width
	z, old, t, shift := make([]float32, n*dim), make([]float32, n*dim), make([]float32, n), make([]float32, n)
	for i := range n {
		row := rows[i*width : (i+1)*width]
		copy(z[i*dim:], row[dim:2*dim])
		copy(old[i*dim:], row[2*dim:3*dim])
		st := r.sampler.Steps[int(row[3*dim])]
		t[i], shift[i] = float32(st.T), float32(st.K/st.S)
	}
	shape := r.sampler.Shape
	return append(r.states(rows), t, engine.Rows(z, shape...), engine.Rows(old, shape...), shift)
}

// states returns what a value network sees of transitions, x [n, …] and the number of the step [n], and what their paths have earned [n].
func (r *recorder) states(rows []float32) []any {
	dim, width := r.dim(), r.width()
	n := len(rows) / width
	x, step, earned := make([]float32, n*dim), make([]float32, n), make([]float32, n)
	for i := range n {
		row := rows[i*width : (i+1)*width]
		copy(x[i*dim:], row[:dim])
		step[i], earned[i] = row[3*dim], row[3*dim+1]
	}
	return []any{engine.Rows(x, r.sampler.Shape...), step, earned}
}
