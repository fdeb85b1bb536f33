package attention

import (
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Backward computes dq, dk, dv and dbias, the gradients of Σ dy·y with respect to the operands of Forward, whose results are y and
// logSums; dbias is nil without a bias. Without logSums they are computed again. With P the weights, L = log Σ exp(score) of a query and s the scale,
//
//	P = exp(score − L),  dV = Pᵀ·dY,  dP = dY·Vᵀ,  dS = P∘(dP − Σ dy·y),  dQ = s·dS·K,  dK = s·dSᵀ·Q,  dbias = Σ dS.
//
// A part takes the blocks of keys of a group, of one pair, and for each goes through all queries. So dK, dV and dbias have one
// part each; the parts of dQ by the groups are added at the end.
//
// Where all keys are one block, P is the softmax of its scores and dQ has one part.
func (a *Attention) Backward(ctx *kern.Context, dq, dk, dv, dbias, dy, y, logSums, q, k, v, bias []float32) {
	s := a.spec
	a.begin(ctx, q, k, v, bias)
	check("y", y, len(q))
	check("dy", dy, len(q))
	check("dq", dq, len(q))
	check("dk", dk, len(k))
	check("dv", dv, len(v))
	a.dq, a.dk, a.dv, a.dbias, a.dy, a.y = dq, dk, dv, dbias, dy, y
	biases := 0
	if s.Biased {
		check("dbias", dbias, len(bias))
		biases = s.pairs() * s.Keys
	}
	if a.single {
		a.partBiases = ctx.Shared(biases)
		a.run(s.pairs(), a.backward)
	} else {
		scores, _ := a.panels()
		parts, packed, sums := s.pairs()*a.groups*a.partSize(), 0, 0
		if logSums == nil {
			packed, sums = a.some()*scores.Len(), s.pairs()*s.Queries
		}
		shared := ctx.Shared(biases + sums + max(parts, packed))
		a.partBiases, shared = shared[:biases], shared[biases:]
		if a.logSums = logSums; logSums == nil {
			a.logSums, shared = shared[:sums], shared[sums:]
			a.eachPairs(shared[:packed], scores.Len(), scores.Pieces(), a.statistics)
		}
		check("log-sums", a.logSums, s.pairs()*s.Queries)
		a.partQueries = shared[:parts]
		a.run(s.pairs()*a.groups, a.backward)
		a.run(s.pairs()*ceil(s.Queries, blockQueries), a.collect)
	}
	if s.Biased {
		a.run(s.Batch, a.total)
	}
	a.end()
}

// groups returns into how many groups the blocks of keys of a pair are divided: for enough parts, but such that the parts
// of dq take less than a quarter of the memory of all scores.
func (s Spec) groups() int {
	const enough = 16
	blocks := ceil(s.Keys, s.blockKeys())
	each := ceil(blocks, min(ceil(enough, s.pairs()), blocks, max(1, s.Keys/(4*padded(s.Dim)))))
	return ceil(blocks, each)
}

// statisticsPart computes log Σ exp(score) of a block of queries.
func (a *Attention) statisticsPart(part, worker int) {
	scores, _ := a.panels()
	o, _ := a.start(part, worker, 0)
	packed := a.packedOf(o.pair)
	for key := 0; key < o.keys; key += a.keys {
		a.meet(o, scores, packed, key, min(a.keys, a.spec.Keys-key))
	}
	a.keep(o)
}

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

// backwardPart computes dk and dv of the keys of a group, and what it has of dq.
func (a *Attention) backwardPart(part, worker int) {
	s := a.spec
	blocks := ceil(s.Keys, a.keys)
	each := ceil(blocks, a.groups)
	pair, group := part/a.groups, part%a.groups
	if !a.single {
		clear(a.partOf(pair, group).data)
	}
	if s.Biased {
		first, last := min(group*each*a.keys, s.Keys), min((group+1)*each*a.keys, s.Keys)
		clear(a.partBiases[pair*s.Keys:][first:last])
	}
	for b := group * each; b < min((group+1)*each, blocks); b++ {
		scratch := area(a.ctx.Scratch(worker, a.keyBlockSize()+3*size(blockQueries, s.Dim)+2*size(blockQueries, a.keys)))
		kb := a.takeKeys(&scratch, pair, group, b*a.keys)
		o := &a.workers[worker]
		o.pair = pair
		o.queries, o.weights = scratch.take(blockQueries, s.Dim), scratch.take(blockQueries, a.keys)
		dy, dweights := scratch.take(blockQueries, s.Dim), scratch.take(blockQueries, a.keys)
		for first := 0; first < s.Queries; first += blockQueries {
			o.first, o.count = first, min(blockQueries, s.Queries-first)
			if s.seen(first+o.count-1, kb.first, kb.count) > 0 {
				a.differentiate(o, &kb, dy, dweights)
			}
		}
		a.giveKeys(&kb)
	}
}

// partSize returns the floats of one, with room for whole tiles.
func (a *Attention) partSize() int { return size(ceil(a.spec.Queries, 12)*12, a.spec.Dim) }

// partOf returns what a group has of dq of a pair, [Queries, Dim].
func (a *Attention) partOf(pair, group int) block {
	n := a.partSize()
	return block{a.partQueries[(pair*a.groups+group)*n:][:n], padded(a.spec.Dim)}
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
		v.SoftmaxGrad(&dp[0], &dp[0], &p[0], a.weigh(o, p[:seen], i), seen)
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

// weigh turns the scores of a query of the block into its weights, and returns Σ dy·y.
func (a *Attention) weigh(o *online, p []float32, i int) float32 {
	s, v := a.spec, &a.ctx.Vec
	if a.single {
		sum := v.ExpSum(&p[0], &p[0], v.MaxReduce(&p[0], len(p)), len(p))
		v.MulS(&p[0], &p[0], 1/sum, len(p))
	} else {
		v.ExpSum(&p[0], &p[0], a.logSums[o.pair*s.Queries+o.first+i], len(p))
	}
	at := s.origin(o.pair, s.Queries) + (o.first+i)*s.stride()
	return v.Dot(&a.dy[at], &a.y[at], s.Dim)
}

// collectPart adds the parts of dq for a block of queries.
func (a *Attention) collectPart(part, _ int) {
	s, v := a.spec, &a.ctx.Vec
	blocks := ceil(s.Queries, blockQueries)
	pair, first := part/blocks, part%blocks*blockQueries
	for i := first; i < min(first+blockQueries, s.Queries); i++ {
		sum := a.partOf(pair, 0).row(i, s.Dim)
		for g := 1; g < a.groups; g++ {
			v.Add(&sum[0], &sum[0], &a.partOf(pair, g).row(i, s.Dim)[0], s.Dim)
		}
		v.MulS(&a.dq[s.origin(pair, s.Queries)+i*s.stride()], &sum[0], a.scale, s.Dim)
	}
}

// totalPart adds what the heads of an image have of dbias.
func (a *Attention) totalPart(image, _ int) {
	s := a.spec
	to := a.dbias[image*s.Keys:][:s.Keys]
	clear(to)
	a.ctx.Vec.AccumulateRows(&to[0], &a.partBiases[image*s.Heads*s.Keys], s.Keys, s.Heads, s.Keys)
}
