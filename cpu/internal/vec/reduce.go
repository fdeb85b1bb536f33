package vec

import (
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// ReduceKind says what becomes of the values of a reduction.
type ReduceKind int

const (
	Sum ReduceKind = iota
	Mean
	Max // NaN if any value is; −Inf of no values
	Min // NaN if any value is; +Inf of no values
)

// ReduceSpec is a reduction of the middle axis of an array [Outer, Reduce, Inner]; the result is [Outer, Inner].
type ReduceSpec struct {
	Kind                 ReduceKind
	Outer, Reduce, Inner int
}

// Reduce is a prepared reduction. The middle axis is cut into chunks and the inner one into columns of some values; the
// results of the chunks are reduced in the same way, so that sums are made of sums of bounded length.
type Reduce struct {
	spec            ReduceSpec
	scale           float32 // of the result, for a mean
	chunk, column   int     // sizes
	chunks, columns int
	block           int       // pieces (chunk by column) in a part
	partial         []float32 // [outer, chunks, inner]
	next            *Reduce   // reduces the partial results
	ctx             *kern.Context
	dst, src        []float32
	part            func(part, worker int)
}

// PrepareReduce divides the work.
func PrepareReduce(spec ReduceSpec) (*Reduce, error) {
	if spec.Outer < 0 || spec.Reduce < 0 || spec.Inner < 0 {
		return nil, fmt.Errorf("vec: reduction of shape [%d, %d, %d]: expected dimensions of at least 0", spec.Outer, spec.Reduce, spec.Inner)
	}
	if spec.Kind < Sum || spec.Kind > Min {
		return nil, fmt.Errorf("vec: reduction of kind %d: expected Sum, Mean, Max or Min", spec.Kind)
	}
	scale := float32(1)
	if spec.Kind == Mean {
		scale = float32(1 / float64(spec.Reduce))
		spec.Kind = Sum
	}
	return prepareReduce(spec, scale), nil
}

func prepareReduce(spec ReduceSpec, scale float32) *Reduce {
	const widest = 1024
	r := &Reduce{spec: spec, scale: scale}
	r.column = min(max(1, spec.Inner), widest)
	r.columns = ceil(spec.Inner, r.column)
	r.chunk = max(16, grain/r.column)
	if spec.Reduce < 2*r.chunk {
		r.chunk = max(1, spec.Reduce)
	}
	r.chunks = max(1, ceil(spec.Reduce, r.chunk))
	r.block = max(1, grain/(r.chunk*r.column))
	if r.chunks > 1 {
		r.partial = make([]float32, spec.Outer*r.chunks*spec.Inner)
		r.next = prepareReduce(ReduceSpec{Kind: spec.Kind, Outer: spec.Outer, Reduce: r.chunks, Inner: spec.Inner}, scale)
	}
	r.part = r.reducePart
	return r
}

// Run computes dst [Outer, Inner] from src [Outer, Reduce, Inner].
func (r *Reduce) Run(ctx *kern.Context, dst, src []float32) {
	spec := r.spec
	check("the result of a reduction", dst, spec.Outer*spec.Inner)
	check("the operand of a reduction", src, spec.Outer*spec.Reduce*spec.Inner)
	r.ctx, r.dst, r.src = ctx, dst, src
	if r.next != nil {
		r.dst = r.partial
	}
	pieces := spec.Outer * r.chunks * r.columns
	run(ctx, ceil(pieces, r.block), max(len(src), len(dst)), r.part)
	r.ctx, r.dst, r.src = nil, nil, nil
	if r.next != nil {
		r.next.Run(ctx, dst, r.partial)
	}
}

func (r *Reduce) reducePart(part, _ int) {
	spec := r.spec
	first, last := span(part, r.block, spec.Outer*r.chunks*r.columns)
	for piece := first; piece < last; piece++ {
		column, chunk, outer := piece%r.columns, piece/r.columns%r.chunks, piece/r.columns/r.chunks
		left, right := span(column, r.column, spec.Inner)
		from, to := span(chunk, r.chunk, spec.Reduce)
		dst := r.dst[(outer*r.chunks+chunk)*spec.Inner:][left:right]
		if from == to {
			r.empty(dst)
			continue
		}
		r.reduce(dst, r.src[(outer*spec.Reduce+from)*spec.Inner+left:], to-from)
		if r.next == nil && r.scale != 1 {
			r.ctx.Vec.MulS(&dst[0], &dst[0], r.scale, len(dst))
		}
	}
}

// reduce reduces rows of len(dst) values that are Inner values apart.
func (r *Reduce) reduce(dst, src []float32, rows int) {
	v, stride := &r.ctx.Vec, r.spec.Inner
	switch {
	case r.spec.Kind == Sum && stride == 1:
		dst[0] = v.Sum(&src[0], rows)
	case r.spec.Kind == Max && stride == 1:
		dst[0] = v.MaxReduce(&src[0], rows)
	case r.spec.Kind == Min && stride == 1:
		dst[0] = v.MinReduce(&src[0], rows)
	case r.spec.Kind == Sum:
		clear(dst)
		v.AccumulateRows(&dst[0], &src[0], len(dst), rows, stride)
	default:
		combine := v.Max
		if r.spec.Kind == Min {
			combine = v.Min
		}
		copy(dst, src)
		for i := 1; i < rows; i++ {
			combine(&dst[0], &dst[0], &src[i*stride], len(dst))
		}
	}
}

// empty is the result for no values.
func (r *Reduce) empty(dst []float32) {
	value := float32(0) * r.scale // the mean of nothing is NaN
	switch r.spec.Kind {
	case Max:
		value = float32(math.Inf(-1))
	case Min:
		value = float32(math.Inf(1))
	}
	for i := range dst {
		dst[i] = value
	}
}
