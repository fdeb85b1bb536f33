package attention

import "github.com/doob-diffusion/doob/cpu/internal/gemm"

// keyBlock is a block of keys that meets all queries.
type keyBlock struct {
	pair, group, first, count int
	// The right factors of scores, of dP and of dQ, as panels.
	scores, values, keys gemm.Panels
	packed               [3][]float32
	dk, dv               block
}

// keyBlockSize returns the scratch floats that one takes.
func (a *Attention) keyBlockSize() int {
	d := a.spec.Dim
	wide := ceil(a.keys, 32) * 32 * ceil(d, 32) * 32
	return 3*wide + 2*size(a.keys, d)
}

// takeKeys packs a block of keys and values.
func (a *Attention) takeKeys(scratch *area, pair, group, first int) keyBlock {
	s, k := a.spec, &a.ctx.Gemm
	n := min(a.keys, s.Keys-first)
	kb := keyBlock{pair: pair, group: group, first: first, count: n}
	kb.scores = gemm.Panels{K: s.Dim, N: n, NR: k.NR}
	kb.values, kb.keys = kb.scores, gemm.Panels{K: n, N: s.Dim, NR: k.NR}
	for i, p := range []gemm.Panels{kb.scores, kb.values, kb.keys} {
		kb.packed[i], *scratch = (*scratch)[:p.Len()], (*scratch)[p.Len():]
	}
	kb.dk, kb.dv = scratch.take(a.keys, s.Dim), scratch.take(a.keys, s.Dim)
	clear(kb.dk.data)
	clear(kb.dv.data)
	from := s.origin(pair, s.Keys) + first*s.stride()
	kb.scores.Transpose(k, kb.packed[0], a.k[from:], s.stride(), 0, s.Dim, 0, kb.scores.Count())
	kb.values.Transpose(k, kb.packed[1], a.v[from:], s.stride(), 0, s.Dim, 0, kb.values.Count())
	kb.keys.Copy(k, kb.packed[2], a.k[from:], s.stride(), 0, n, 0, kb.keys.Count())
	return kb
}

// giveKeys writes dk and dv of a block of keys.
func (a *Attention) giveKeys(kb *keyBlock) {
	s := a.spec
	to := s.origin(kb.pair, s.Keys) + kb.first*s.stride()
	for i := range kb.count {
		copy(a.dk[to+i*s.stride():][:s.Dim], kb.dk.data[i*kb.dk.stride:])
		copy(a.dv[to+i*s.stride():][:s.Dim], kb.dv.data[i*kb.dv.stride:])
	}
}

// differentiate adds what a block of queries contributes to the gradients of a block of keys, and the other way round.
func (a *Attention) differentiate(o *online, kb *keyBlock, dy, dweights block) {
	s, v, k := a.spec, &a.ctx.Vec, &a.ctx.Gemm
	a.copyRows(o.queries, a.q, o.pair, o.first, o.count, a.scale)
	a.copyRows(dy, a.dy, o.pair, o.first, o.count, 1)
	o.queryRows = point(o.queryRows, k, o.queries, o.count)
	multiply(k, o.weights, o.queryRows, s.Dim, kb.scores, kb.packed[0], 0, 0, kb.scores.Count(), false)
	o.queryRows = point(o.queryRows, k, dy, o.count)
	multiply(k, dweights, o.queryRows, s.Dim, kb.values, kb.packed[1], 0, 0, kb.values.Count(), false)

	for i := range o.count {
		p, dp := o.weights.row(i, kb.count), dweights.row(i, kb.count)
		seen := s.seen(o.first+i, kb.first, kb.count)
		clear(p[seen:])
		clear(dp[seen:])
		if seen == 0 {
			continue
		}
		a.addBias(p[:seen], o.pair, kb.first)
		v.SoftmaxGrad(&dp[0], &dp[0], &p[0], a.weigh(o, p[:seen], dp, i), seen)
	}
	if s.Biased {
		v.AccumulateRows(&a.partBiases[o.pair*s.Keys+kb.first], &dweights.data[0], kb.count, o.count, dweights.stride)
	}
	o.pairs = offset(o.pairs, o.weights, dy, o.count)
	outer(k, kb.dv, o.weights, dy, o.pairs, kb.count, s.Dim)
	outer(k, kb.dk, dweights, o.queries, o.pairs, kb.count, s.Dim)

	o.weightRows = point(o.weightRows, k, dweights, o.count)
	if a.single {
		dq := o.queries // which are not needed any more
		multiply(k, dq, o.weightRows, kb.count, kb.keys, kb.packed[2], 0, 0, kb.keys.Count(), false)
		to := s.origin(o.pair, s.Queries) + o.first*s.stride()
		for i := range o.count {
			v.MulS(&a.dq[to+i*s.stride()], &dq.data[i*dq.stride], a.scale, s.Dim)
		}
		return
	}
	dq := a.partOf(kb.pair, kb.group)
	dq.data = dq.data[o.first*dq.stride:]
	multiply(k, dq, o.weightRows, kb.count, kb.keys, kb.packed[2], 0, 0, kb.keys.Count(), true)
}

// weigh turns the scores of a query of the block into its weights, and returns Σ dy·y. From the weights and dP, where they are all
// there, it is such that the gradient for one key alone is 0 and not a rounding error.
func (a *Attention) weigh(o *online, p, dp []float32, i int) float32 {
	s, v := a.spec, &a.ctx.Vec
	if a.single {
		sum := v.ExpSum(&p[0], &p[0], v.MaxReduce(&p[0], len(p)), len(p))
		v.MulS(&p[0], &p[0], 1/sum, len(p))
		return v.Dot(&dp[0], &p[0], len(p))
	}
	v.ExpSum(&p[0], &p[0], a.logSums[o.pair*s.Queries+o.first+i], len(p))
	at := s.origin(o.pair, s.Queries) + (o.first+i)*s.stride()
	return v.Dot(&a.dy[at], &a.y[at], s.Dim)
}
