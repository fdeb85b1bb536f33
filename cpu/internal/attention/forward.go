package attention

import (
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Forward computes y, shaped like q, and for Backward log Σ exp(score) of every query, [Batch, Heads, Queries], if logSums is not nil. It
// needs bias [Batch, Keys] if the spec says so.
func (a *Attention) Forward(ctx *kern.Context, y, logSums, q, k, v, bias []float32) {
	a.begin(ctx, q, k, v, bias)
	check("y", y, len(q))
	if logSums != nil {
		check("log-sums", logSums, a.spec.pairs()*a.spec.Queries)
	}
	a.y, a.logSums = y, logSums
	scores, values := a.panels()
	a.eachPairs(ctx.Shared(a.some()*(scores.Len()+values.Len())), scores.Len()+values.Len(), scores.Pieces()+values.Pieces(), a.forward)
	a.end()
}

// forwardPart computes the result of a block of queries: the sum of the weights times the values over the keys, and at last
// divided by that of the weights.
func (a *Attention) forwardPart(part, worker int) {
	s, v, k := a.spec, &a.ctx.Vec, &a.ctx.Gemm
	scores, values := a.panels()
	o, scratch := a.start(part, worker, size(blockQueries, s.Dim))
	result := scratch.take(blockQueries, s.Dim)
	packed := a.packedOf(o.pair)
	for key := 0; key < o.keys; key += a.keys {
		n := min(a.keys, s.Keys-key)
		a.meet(o, scores, packed, key, n)
		for i, f := range o.factor {
			if key > 0 && f != 1 {
				row := result.row(i, s.Dim)
				v.MulS(&row[0], &row[0], f, s.Dim)
			}
		}
		multiply(k, result, o.weightRows, n, values, packed[scores.Len():], key, 0, values.Count(), key > 0)
	}
	at := s.origin(o.pair, s.Queries) + o.first*s.stride()
	for i := range o.count {
		v.MulS(&a.y[at+i*s.stride()], &result.data[i*result.stride], 1/o.sum[i], s.Dim)
	}
	if a.logSums != nil {
		a.keep(o)
	}
}

// panels returns how k transposed, the right factor of the scores, and v, that of the result, are packed.
func (a *Attention) panels() (scores, values gemm.Panels) {
	s, width := a.spec, a.ctx.Gemm.NR
	return gemm.Panels{K: s.Dim, N: s.Keys, NR: width}, gemm.Panels{K: s.Keys, N: s.Dim, NR: width}
}

// packPart packs a piece of the keys, or of the values if they are wanted.
func (a *Attention) packPart(part, _ int) {
	s := a.spec
	scores, values := a.panels()
	pair, piece := a.first+part/a.pieces, part%a.pieces
	packed, from := a.packedOf(pair), s.origin(pair, s.Keys)
	if piece < scores.Pieces() {
		scores.PackColumns(&a.ctx.Gemm, packed, a.k[from:], s.stride(), piece)
	} else {
		values.PackRows(&a.ctx.Gemm, packed[scores.Len():], a.v[from:], s.stride(), piece-scores.Pieces())
	}
}

// packedOf returns the packed keys and values of a pair.
func (a *Attention) packedOf(pair int) []float32 {
	return a.packed[(pair-a.first)*a.floats:][:a.floats]
}
