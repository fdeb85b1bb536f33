package attention

import (
	"math"

	"github.com/doob-diffusion/doob/cpu/internal/gemm"
)

// online is the softmax of a block of queries over one block of keys after the other (Milakov & Gimelshein 2018). Of the keys
// so far it knows of every query the largest score and the sum of exp(score − largest).
type online struct {
	pair, first, count int       // the queries of a pair
	keys               int       // that any of them sees
	queries            block     // scaled, [count, Dim]
	weights            block     // exp(score − largest) of the last block of keys
	largest, sum       []float32 // by query
	factor             []float32 // exp(largest before the last block − largest), for what was summed before

	queryRows, weightRows []*float32 // of tiles
	pairs                 []int32
}

// onlineSize returns the scratch floats that it takes.
func (a *Attention) onlineSize() int {
	return size(blockQueries, a.spec.Dim) + size(blockQueries, a.keys) + 3*blockQueries
}

// start prepares a block of queries, and returns what is left of the scratch memory.
func (a *Attention) start(part, worker, more int) (*online, area) {
	s, o := a.spec, &a.workers[worker]
	blocks := ceil(s.Queries, blockQueries)
	o.pair, o.first = a.first+part/blocks, part%blocks*blockQueries
	o.count = min(blockQueries, s.Queries-o.first)
	o.keys = s.keysFor(o.first + o.count)
	scratch := area(a.ctx.Scratch(worker, a.onlineSize()+more))
	o.queries, o.weights = scratch.take(blockQueries, s.Dim), scratch.take(blockQueries, a.keys)
	o.largest, o.sum, o.factor = scratch[:o.count], scratch[blockQueries:][:o.count], scratch[2*blockQueries:][:o.count]
	scratch = scratch[3*blockQueries:]
	for i := range o.count {
		o.largest[i], o.sum[i] = float32(math.Inf(-1)), 0
	}
	a.copyRows(o.queries, a.q, o.pair, o.first, o.count, a.scale)
	o.queryRows = point(o.queryRows, &a.ctx.Gemm, o.queries, o.count)
	o.weightRows = point(o.weightRows, &a.ctx.Gemm, o.weights, o.count)
	return o, scratch
}

// copyRows copies queries of a pair, times a factor.
func (a *Attention) copyRows(to block, from []float32, pair, first, count int, factor float32) {
	s := a.spec
	at := s.origin(pair, s.Queries) + first*s.stride()
	for i := range count {
		a.ctx.Vec.MulS(&to.data[i*to.stride], &from[at+i*s.stride()], factor, s.Dim)
	}
}

// meet goes on to n more keys.
func (a *Attention) meet(o *online, p gemm.Panels, packed []float32, key, n int) {
	s, v := a.spec, &a.ctx.Vec
	multiply(&a.ctx.Gemm, o.weights, o.queryRows, s.Dim, p, packed, 0, key/p.NR, ceil(key+n, p.NR), false)
	for i := range o.count {
		row := o.weights.row(i, n)
		seen := s.seen(o.first+i, key, n)
		clear(row[seen:])
		o.factor[i] = 1
		if seen == 0 {
			continue
		}
		row = row[:seen]
		a.addBias(row, o.pair, key)
		before := o.largest[i]
		largest := max(before, v.MaxReduce(&row[0], seen))
		if math.IsInf(float64(largest), -1) { // all are hidden: exp(largest − largest) would be NaN
			clear(row)
			continue
		}
		sum := v.ExpSum(&row[0], &row[0], largest, seen)
		if before != largest {
			o.factor[i] = float32(math.Exp(float64(before) - float64(largest)))
			o.largest[i] = largest
		}
		o.sum[i] = o.sum[i]*o.factor[i] + sum
	}
}

// keep notes log Σ exp(score) of the queries.
func (a *Attention) keep(o *online) {
	to := a.logSums[o.pair*a.spec.Queries+o.first:]
	for i := range o.count {
		to[i] = o.largest[i] + float32(math.Log(float64(o.sum[i])))
	}
}

// addBias adds to scores of a query what the bias has for the keys from the given one on.
func (a *Attention) addBias(scores []float32, pair, key int) {
	if s := a.spec; s.Biased {
		bias := a.bias[pair/s.Heads*s.Keys+key:]
		a.ctx.Vec.Add(&scores[0], &scores[0], &bias[0], len(scores))
	}
}
