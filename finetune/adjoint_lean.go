package finetune

import (
	"context"
	"errors"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// pair is a path at a step, with the lean adjoint there.
type pair struct {
	path, step int
	x, adjoint []float32 // [Dim]
	counts     bool      // false of what diverged: its numbers are 0 then
}

// compile makes the programs of the lean adjoint of a base model and a reward.
func (o *AdjointMatching) compile(base diffusion.Model, r reward.Differentiable) (err error) {
	s := o.sampler
	if o.slope, err = s.Engine.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{reward.Gradient(r, in[0], nil)}
	}); err != nil {
		return err
	}
	o.back, err = s.Engine.Compile(func(in []*graph.Node) []*graph.Node {
		x, t, a, step := in[0], in[1], in[2], in[3]
		part := func(i int) *graph.Node { return graph.Reshape(graph.Slice(step, graph.AxisElem(i))) }
		var through *graph.Node
		engine.CountBackward(x.Graph(), func() {
			eps := diffusion.State{Process: s.Process, X: x, T: t}.Evaluate(base).Eps
			through = graph.Gradient(graph.ReduceAllSum(graph.Mul(eps, a)), x)[0]
		})
		return []*graph.Node{graph.Add(graph.Mul(a, part(0)), graph.Mul(through, part(1)))}
	})
	rows := s.Batch
	if rows <= 0 {
		rows = 256
	}
	if o.rows = [2]int{rows, rows}; err == nil {
		if bulky, ok := r.(reward.Bulky); ok {
			o.rows[0] = max(1, min(rows, bulky.Rows()))
		}
	}
	return err
}

// choose draws the pairs of n paths, those of a path beside each other: half of them uniformly from the first 60 % of the steps that h moves, the others from
// the rest.
func (o *AdjointMatching) choose(key noise.Key, n int) []pair {
	steps, draw := controlled(o.sampler.Steps), key.Rand()
	wanted := o.matching.Steps
	if wanted <= 0 || wanted > len(steps) {
		wanted = len(steps)
	}
	first, rest := steps[:len(steps)*6/10], steps[len(steps)*6/10:]
	early := max(wanted-len(rest), min(wanted/2, len(first)))
	pairs := make([]pair, 0, n*wanted)
	for path := range n {
		for _, i := range draw.Perm(len(first))[:early] {
			pairs = append(pairs, pair{path: path, step: first[i]})
		}
		for _, i := range draw.Perm(len(rest))[:wanted-early] {
			pairs = append(pairs, pair{path: path, step: rest[i]})
		}
	}
	return pairs
}

// adjoints fills in the lean adjoints of pairs of recorded paths: −∇r at their ends, and from there backwards through the mean of every step of the base model,
// μ = A·x + K·ε_θ(x),
//
//	a_k = a_{k+1} + ∇ₓ⟨μ(x_k) − x_k, a_{k+1}⟩ = A·a_{k+1} + K·(∂ε_θ/∂x)ᵀ a_{k+1}
//
// one evaluation of the base model and one backward pass through it a step. A batch of paths goes all the way back before the next one does, so that of adjoints
// only those of the pairs are kept.
func (o *AdjointMatching) adjoints(ctx context.Context, batch Weighted, pairs []pair) ([]pair, error) {
	if len(o.record) != len(o.sampler.Steps) {
		return nil, errors.New("finetune: adjoint matching has not seen the paths: it must be the visitor of their simulation")
	}
	diverged := make([]bool, batch.N)
	ends := append([]float32(nil), batch.X...)
	for i := range diverged {
		lo, hi := i*batch.Dim, (i+1)*batch.Dim
		diverged[i] = math.IsInf(batch.LogW[i], -1) || !finite(ends[lo:hi])
		for _, x := range o.record {
			diverged[i] = diverged[i] || !finite(x[lo:hi])
		}
		if diverged[i] { // 0·NaN is NaN: keep it out of the networks
			clear(ends[lo:hi])
			for _, x := range o.record {
				clear(x[lo:hi])
			}
		}
	}
	each, rows := len(pairs)/batch.N, o.rows[1]
	errs := make([]error, (batch.N+rows-1)/rows)
	o.sampler.Engine.Each(len(errs), func(b int) {
		lo, hi := b*rows, min((b+1)*rows, batch.N)
		errs[b] = o.backwards(ctx, ends, batch.Dim, lo, hi, pairs[lo*each:hi*each])
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i := range pairs {
		p := &pairs[i]
		if p.counts = !diverged[p.path] && finite(p.adjoint); !p.counts {
			clear(p.adjoint)
		}
	}
	return pairs, nil
}

// backwards fills in the pairs of paths [lo, hi).
func (o *AdjointMatching) backwards(ctx context.Context, ends []float32, dim, lo, hi int, pairs []pair) error {
	shape := o.sampler.Shape
	slope, err := o.slope.Map(ctx, ends[lo*dim:hi*dim], hi-lo, o.rows[0], shape...)
	if err != nil {
		return err
	}
	a := make([]float32, o.rows[1]*dim)
	for i, v := range slope {
		a[i] = -v
	}
	for k := len(o.sampler.Steps) - 1; k >= 0; k-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		st, x := o.sampler.Steps[k], make([]float32, len(a)) // a short batch is padded with zeros
		copy(x, o.record[k][lo*dim:hi*dim])
		out, err := o.back.RunPadded(hi-lo, o.rows[1], engine.Rows(x, shape...), []float32{float32(st.T)}, engine.Rows(a, shape...), []float32{float32(st.A), float32(st.K)})
		if err != nil {
			return err
		}
		a = make([]float32, len(a))
		if err := engine.Floats(a, out[0]); err != nil {
			return err
		}
		for i := range pairs {
			if p := &pairs[i]; p.step == k {
				at := (p.path - lo) * dim
				p.x, p.adjoint = o.record[k][p.path*dim:(p.path+1)*dim], append([]float32(nil), a[at:at+dim]...)
			}
		}
	}
	return nil
}

func finite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}
