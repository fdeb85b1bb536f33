package conv

import (
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// terms is the sum of a kernel gradient,
//
//	dw[t,c,o] = Σ_p x[p + tap t, c]·dy[p, o]
//
// over the output pixels p of all images in memory order. Pixels whose tap is padding are left out.
//
// With few output channels the roles are swapped: the sum is over the input pixels q, with the taps of dy side by side,
//
//	dwᵀ[(t,o),c] = Σ_q dy[q − tap t, o]·x[q, c]
type terms struct {
	walk    pass // a pass without a product, over the pixels p or q: what a tap reads
	swapped bool // it is the pass of the input gradient
	outer   gemm.Outer
	left    []int // per tap, the columns of the grid whose tap is inside: left[t] ≤ j < right[t]
	right   []int
	gather  bool
	ctx     *kern.Context
}

func newTerms(s Spec) terms {
	if s.Co < narrow && s.Co < s.Ci && s.StrideH == 1 && s.StrideW == 1 && s.Kh*s.Kw > 1 {
		return terms{walk: gradientPasses(s)[0], swapped: true}
	}
	return terms{walk: forwardPass(s)}
}

func (s *terms) plan(k *kern.Gemm, workers int) {
	f := &s.walk
	f.plan(k, 0, 1)
	s.gather = f.runs != nil
	s.outer = gemm.Outer{Terms: f.batch * f.rows * f.columns, Taps: len(f.taps), M: f.c, N: f.n, LDY: f.n, LDC: f.n}
	if s.gather {
		s.outer.Taps, s.outer.M = 1, len(f.taps)*f.c
	}
	f.byPixel, f.spread = false, false
	s.outer.Plan(k, workers, 1)
	s.left, s.right = nil, nil
	for _, t := range f.taps {
		// 0 ≤ j·step + dw < w
		left := max(0, (-t.dw+f.stepW-1)/f.stepW)
		right := 0
		if f.w > t.dw {
			right = min(f.columns, (f.w-t.dw+f.stepW-1)/f.stepW)
		}
		s.left, s.right = append(s.left, left), append(s.right, max(left, right))
	}
}

// scratch returns the floats that a worker needs.
func (s *terms) scratch() int {
	if s.gather {
		return s.outer.Scratch() + gemm.OuterTerms*s.outer.M + moved
	}
	return s.outer.Scratch()
}

// Pairs implements [gemm.Pairs].
func (s *terms) Pairs(at []int32, first, count, tap, stride, worker int, x []float32) (int, []float32) {
	f := &s.walk
	if s.gather {
		area := s.ctx.Scratch(worker, s.scratch())[s.outer.Scratch():]
		f.copyTaps(area, first, count, x)
		for p := range count {
			at[2*p], at[2*p+1] = int32(p*s.outer.M), int32(p*stride)
		}
		return count, area
	}
	t := f.taps[tap]
	c := f.at(first)
	base := c.b * f.h * f.w * f.c
	n := 0
	for p := 0; p < count; {
		segment := min(count-p, f.columns-c.j) // the rest of a row of the grid
		y := c.i*f.stepH + t.dh
		if uint(y) < uint(f.h) {
			from, to := max(c.j, s.left[tap]), min(c.j+segment, s.right[tap])
			xo := int32(((c.b*f.h+y)*f.w+from*f.stepW+t.dw)*f.c - base)
			yo := int32((p + from - c.j) * stride)
			for j := from; j < to; j++ {
				at[2*n], at[2*n+1] = xo, yo
				xo += int32(f.stepW * f.c)
				yo += int32(stride)
				n++
			}
		}
		p += segment
		c.j = 0
		if c.i++; c.i == f.rows {
			c.i = 0
			c.b++
		}
	}
	return n, x[base:]
}

// unswap brings the result of swapped roles, a row per tap and output channel, into the order of the kernel.
func (s *terms) unswap(dw, result []float32) {
	f := &s.walk
	for t, tap := range f.taps {
		for o := range f.c {
			for c, v := range result[(t*f.c+o)*f.n:][:f.n] {
				dw[(tap.kernel*f.n+c)*f.c+o] = v
			}
		}
	}
}
