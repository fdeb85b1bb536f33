package attention

import "github.com/doob-diffusion/doob/cpu/internal/kern"

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
