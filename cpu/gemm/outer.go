package gemm

import "github.com/doob-diffusion/doob/cpu/kern"

// OuterTerms is the number of terms between two visits of C: as many rows of Y are packed at a time.
const OuterTerms = 512

// What one part of an [Outer] product covers.
const (
	outerArea   = 96 * 1024 // floats of C: they stay in the second-level cache
	outerSplit  = 1024      // terms of a partial sum, at least
	outerTaps   = 4         // panels times taps that X is read for, if there are as many
	outerShared = 4 << 20   // floats of all partial sums
)

// Pairs tells an [Outer] product which terms there are.
type Pairs interface {
	// Pairs writes, for those of count terms from first on that are not zero in the tap, the offset of their row of X in a
	// slice, and (term-first)·stride. It returns their number and the slice. The offsets do not decrease.
	Pairs(at []int32, first, count, tap, stride, worker int, x []float32) (n int, rows []float32)
}

// Outer is the plan of C_t = Σ_p X_tpᵀ·Y_p (+ bias) (+ add) for Taps taps, where X_tp is a row of M floats, Y_p is a row of
// N floats, and C has Taps·M rows: a product AᵀB whose A is found term by term.
//
// If C has too few elements to share among the workers, the terms are divided as well; every such range has a C of its own,
// and these are added in order.
type Outer struct {
	Terms, Taps, M, N int
	TransY            bool // Y is stored as N rows of Terms floats
	LDX, LDY, LDC     int  // X is a matrix with rows of stride LDX; or LDX is 0, and a [Pairs] finds the rows

	kernel *kern.Gemm
	panels Panels // of one partial C: K is Taps·M, rounded up to whole tiles
	blocks int    // tiles per tap
	units  int    // (tap, block) pairs per part
	group  int    // panels per part
	splits int
	each   int // terms per split
	state  []outerState
}

type outerState struct {
	pairs []int32
	edge  []int32 // pairs of the rows of X that had to be copied
	tile  []float32
}

// Plan divides the product, one of several of equal shape.
func (o *Outer) Plan(k *kern.Gemm, workers, several int) {
	o.kernel = k
	o.blocks = ceil(o.M, k.OR)
	o.panels = Panels{K: o.Taps * o.blocks * k.OR, N: o.N, NR: k.NR}
	units, panels := o.Taps*o.blocks, o.panels.Count()
	if units == 0 || panels == 0 || several == 0 {
		o.splits = 0
		return
	}
	area := k.OR * k.NR
	o.group = min(panels, ceil(outerTaps, o.Taps))
	o.units = min(units, max(1, outerArea/(area*o.group)))
	o.group = min(panels, max(o.group, outerArea/(area*o.units)))
	flops := 2 * float64(units*k.OR) * float64(o.N) * float64(o.Terms)
	parts := func() int { return ceil(units, o.units) * ceil(panels, o.group) * several }
	most := max(1, min(enoughParts, int(flops*float64(several)/partFlops)))
	o.splits = max(1, min(ceil(most, parts()), o.Terms/outerSplit, outerShared/(o.panels.Len()*several)))
	for parts()*o.splits < most && (o.units > 1 || o.group > 1) {
		if o.group > 1 && (o.group*k.NR >= o.units*k.OR || o.units == 1) {
			o.group = ceil(o.group, 2)
		} else {
			o.units = ceil(o.units, 2)
		}
	}
	o.each = max(1, ceil(ceil(o.Terms, OuterTerms), o.splits)) * OuterTerms
	o.splits = max(1, ceil(o.Terms, o.each))
	o.state = make([]outerState, workers)
	for i := range o.state {
		o.state[i] = outerState{
			pairs: make([]int32, 2*OuterTerms), edge: make([]int32, 2*OuterTerms),
			tile: kern.Aligned(k.OR * k.NR),
		}
	}
}

// Parts returns into how many parts the product is divided.
func (o *Outer) Parts() int {
	if o.splits == 0 {
		return 0
	}
	return ceil(o.Taps*o.blocks, o.units) * ceil(o.panels.Count(), o.group) * o.splits
}

// Partial returns the floats that the partial sums take: none if there is one range of terms.
func (o *Outer) Partial() int {
	if o.splits <= 1 {
		return 0
	}
	return o.splits * o.panels.Len()
}

// Scratch returns the floats that a worker needs.
func (o *Outer) Scratch() int { return OuterTerms * (o.group*o.kernel.NR + o.kernel.OR) }

// Compute computes one part. partial has Partial() floats, and [Outer.Reduce] is to follow if these are any; else c gets
// the result at once.
func (o *Outer) Compute(part, worker int, s Pairs, scratch, partial, c, x, y, bias, add []float32) {
	k, state := o.kernel, &o.state[worker]
	groups := ceil(o.panels.Count(), o.group)
	ranges := ceil(o.Taps*o.blocks, o.units)
	split, rest := part/(groups*ranges), part%(groups*ranges)
	unit0, panel0 := rest/groups*o.units, rest%groups*o.group
	unit1, panel1 := min(unit0+o.units, o.Taps*o.blocks), min(panel0+o.group, o.panels.Count())
	packed, edge := scratch[:o.group*OuterTerms*k.NR], scratch[o.group*OuterTerms*k.NR:]

	sum := 0 // whether a tile adds to what is there
	if o.splits == 1 && (bias != nil || add != nil) {
		o.initialise(unit0, unit1, panel0, panel1, c, bias, add)
		sum = 1
	}
	last := min((split+1)*o.each, o.Terms)
	for first := split * o.each; first < last || first == 0; first += OuterTerms {
		count := min(OuterTerms, last-first)
		for j := panel0; j < panel1 && count > 0; j++ {
			dst := packed[(j-panel0)*OuterTerms*k.NR:]
			if o.TransY {
				packColumns(k, dst, k.NR, y[j*k.NR*o.LDY+first:], o.LDY, count, o.panels.Columns(j))
			} else if o.panels.Columns(j) == k.NR {
				k.Pack(1, count, &y[first*o.LDY+j*k.NR], o.LDY, &dst[0], 0)
			} else {
				packRows(dst, k.NR, y[first*o.LDY+j*k.NR:], o.LDY, count, o.panels.Columns(j))
			}
		}
		for unit := unit0; unit < unit1; {
			tap := unit / o.blocks
			end := min((tap+1)*o.blocks, unit1)
			if o.LDX > 0 {
				each := k.NR / k.OR
				end = min(unit/each*each+each, unit1)
				o.packX(found, x, first, count, unit/each*k.NR)
				for ; unit < end; unit++ {
					o.column(state, unit, panel0, panel1, split, count, sum, state.pairs, found, unit%each*k.OR, packed, partial, c)
				}
				continue
			}
			n, found := s.Pairs(state.pairs, first, count, tap, k.NR, worker, x)
			for ; unit < end; unit++ {
				block := unit % o.blocks
				at, from, pairs := block*k.OR, found, state.pairs
				// A tile reads OR floats of every row of X. Those beyond the row are harmless, unless they are beyond the slice.
				if n > 0 && at+int(pairs[2*n-2])+k.OR > len(found) {
					o.copyEdge(state, edge, found, at, n, min(k.OR, o.M-block*k.OR))
					at, from, pairs = 0, edge, state.edge
				}
				o.column(state, unit, panel0, panel1, split, n, sum, pairs, from, at, packed, partial, c)
			}
		}
		sum = 1
	}
}

// column computes one row of tiles for the panels of a part.
func (o *Outer) column(s *outerState, unit, panel0, panel1, split, n, sum int, pairs []int32, x []float32, at int, packed, partial, c []float32) {
	k := o.kernel
	tap, block := unit/o.blocks, unit%o.blocks
	rows := min(k.OR, o.M-block*k.OR)
	var xp *float32
	if n > 0 {
		xp = &x[at]
	}
	for j := panel0; j < panel1; j++ {
		yp := &packed[(j-panel0)*OuterTerms*k.NR]
		width, columns := o.panels.Width(j), o.panels.Columns(j)
		kernel := k.Outer
		if width < k.NR {
			kernel = k.OuterHalf
		}
		if o.splits > 1 {
			to := split*o.panels.Len() + o.panels.Start(j) + unit*k.OR*width
			kernel(n, &pairs[0], xp, yp, &partial[to], width, sum)
			continue
		}
		to := (tap*o.M+block*k.OR)*o.LDC + j*k.NR
		if rows == k.OR && columns == width {
			kernel(n, &pairs[0], xp, yp, &c[to], o.LDC, sum)
			continue
		}
		kernel(n, &pairs[0], xp, yp, &s.tile[0], k.NR, 0)
		for i := range rows {
			var before []float32
			if sum != 0 {
				before = c
			}
			scatter(c[to+i*o.LDC:][:columns], s.tile[i*k.NR:], nil, before, to+i*o.LDC)
		}
	}
}

// copyEdge copies the floats of X that a tile needs to where more can be read.
func (o *Outer) copyEdge(s *outerState, edge, x []float32, at, n, rows int) {
	width := o.kernel.OR
	for p := range n {
		copy(edge[p*width:][:rows], x[at+int(s.pairs[2*p]):])
		s.edge[2*p], s.edge[2*p+1] = int32(p*width), s.pairs[2*p+1]
	}
}

// initialise sets the C of a part to add + bias.
func (o *Outer) initialise(unit0, unit1, panel0, panel1 int, c, bias, add []float32) {
	if bias == nil && &add[0] == &c[0] {
		return
	}
	k := o.kernel
	for unit := unit0; unit < unit1; unit++ {
		tap, block := unit/o.blocks, unit%o.blocks
		for i := range min(k.OR, o.M-block*k.OR) {
			from := (tap*o.M+block*k.OR+i)*o.LDC + panel0*k.NR
			row := c[from : from+min(o.N, panel1*k.NR)-panel0*k.NR]
			if add != nil {
				copy(row, add[from:])
			} else {
				clear(row)
			}
			if bias != nil {
				for j, v := range bias[panel0*k.NR:][:len(row)] {
					row[j] += v
				}
			}
		}
	}
}

// Reductions returns how many parts [Outer.Reduce] has.
func (o *Outer) Reductions() int {
	if o.splits <= 1 {
		return 0
	}
	return o.Taps * o.blocks
}

// Reduce adds the partial sums of the tiles of one (tap, block) pair in the order of the terms, then bias and add.
func (o *Outer) Reduce(unit int, partial, c, bias, add []float32) {
	k := o.kernel
	tap, block := unit/o.blocks, unit%o.blocks
	for j := range o.panels.Count() {
		width, columns := o.panels.Width(j), o.panels.Columns(j)
		for i := range min(k.OR, o.M-block*k.OR) {
			at := o.panels.Start(j) + (unit*k.OR+i)*width
			sum := partial[at:][:columns]
			for s := 1; s < o.splits; s++ {
				for q, v := range partial[s*o.panels.Len()+at:][:len(sum)] {
					sum[q] += v
				}
			}
			to := (tap*o.M+block*k.OR+i)*o.LDC + j*k.NR
			row := bias
			if bias != nil {
				row = bias[j*k.NR:]
			}
			scatter(c[to:][:columns], sum, row, add, to)
		}
	}
}

// scatter writes a row of a tile that the kernel could not write itself.
func scatter(c, tile, bias, add []float32, at int) {
	for j := range c {
		v := tile[j]
		if bias != nil {
			v += bias[j]
		}
		if add != nil {
			v += add[at+j]
		}
		c[j] = v
	}
}
