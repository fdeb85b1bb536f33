package attention

import (
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Attention is a prepared attention, for one goroutine at a time. After the first run, a run allocates nothing.
type Attention struct {
	spec    Spec
	scale   float32 // 1/√Dim
	keys    int     // of a block
	single  bool    // whether all keys are one block
	groups  int     // of blocks of keys in the gradient, see Backward
	workers []online

	pack, forward, statistics, backward, collect, total func(part, worker int)

	// The operands of the run in progress.
	ctx                     *kern.Context
	y, q, k, v, bias        []float32
	dy, dq, dk, dv, dbias   []float32
	first, floats, pieces   int       // pairs that are packed begin with this one, and have so many floats and pieces each
	packed                  []float32 // k, or k and v, of some pairs as panels
	logSums                 []float32 // [pairs, Queries]
	partQueries, partBiases []float32 // what the groups make of dq, what the pairs make of dbias
}

// Prepare checks the shape.
func Prepare(spec Spec) (*Attention, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	a := &Attention{spec: spec, scale: float32(1 / math.Sqrt(float64(spec.Dim))), keys: spec.blockKeys(), groups: spec.groups()}
	a.single = a.keys >= spec.Keys
	a.pack, a.forward, a.statistics = a.packPart, a.forwardPart, a.statisticsPart
	a.backward, a.collect, a.total = a.backwardPart, a.collectPart, a.totalPart
	return a, nil
}

// eachPairs runs the part for every block of queries of all pairs. It takes some pairs at a time, enough to occupy 16 workers,
// and packs their keys and values before, in so many floats and pieces a pair.
func (a *Attention) eachPairs(memory []float32, floats, pieces int, part func(part, worker int)) {
	a.floats, a.pieces = floats, pieces
	some := a.some()
	for a.first = 0; a.first < a.spec.pairs(); a.first += some {
		n := min(some, a.spec.pairs()-a.first)
		a.packed = memory[:n*floats]
		a.run(n*pieces, a.pack)
		a.run(n*ceil(a.spec.Queries, blockQueries), part)
	}
}

// some returns how many pairs are packed at a time.
func (a *Attention) some() int {
	const enough = 48
	return min(a.spec.pairs(), ceil(enough, ceil(a.spec.Queries, blockQueries)))
}

// run runs parts, by the caller alone if there is little to do.
func (a *Attention) run(parts int, part func(part, worker int)) {
	const little = 4e6 // operations, some 20 µs
	if s := a.spec; 4*float64(s.pairs()*s.Queries)*float64(s.Keys*s.Dim) > little {
		a.ctx.Pool.Run(parts, part)
		return
	}
	for i := range parts {
		part(i, 0)
	}
}

// begin takes the common operands.
func (a *Attention) begin(ctx *kern.Context, q, k, v, bias []float32) {
	s := a.spec
	check("q", q, s.pairs()*s.Queries*s.Dim)
	check("k", k, s.pairs()*s.Keys*s.Dim)
	check("v", v, s.pairs()*s.Keys*s.Dim)
	if s.Biased {
		check("bias", bias, s.Batch*s.Keys)
	}
	for len(a.workers) < ctx.Pool.Workers() {
		const most = 2 * blockQueries // whole tiles
		a.workers = append(a.workers, online{queryRows: make([]*float32, 0, most), weightRows: make([]*float32, 0, most), pairs: make([]int32, 0, most)})
	}
	a.ctx, a.q, a.k, a.v, a.bias = ctx, q, k, v, bias
}

// end lets go of the operands.
func (a *Attention) end() {
	a.ctx, a.y, a.q, a.k, a.v, a.bias, a.packed = nil, nil, nil, nil, nil, nil, nil
	a.dy, a.dq, a.dk, a.dv, a.dbias = nil, nil, nil, nil, nil
	a.logSums, a.partQueries, a.partBiases = nil, nil, nil
}

// check panics if an operand does not have as many values as the prepared shape says: a fault of the caller.
func check(what string, operand []float32, size int) {
	if len(operand) != size {
		panic(fmt.Sprintf("attention: %s has %d values, expected %d", what, len(operand), size))
	}
}
