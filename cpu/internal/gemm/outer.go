package gemm

import "github.com/doob-diffusion/doob/cpu/internal/kern"

// OuterTerms is the number of terms between two visits of C. As many rows of Y are packed at a time: a panel of them stays
// in the first-level cache.
const OuterTerms = 256

// What one part of an [Outer] product covers.
const (
	outerArea   = 96 * 1024 // floats of C: they stay in the second-level cache
	outerSplit  = 1024      // terms of a partial sum, at least
	outerReads  = 8         // panels times taps that a row of X is read for, if there are as many
	outerCopied = 4         // panels of X that are packed at a time
	outerParts  = 24        // parts that are worth partial sums
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
	same   []int32 // the pairs of packed rows
	state  []outerState
}

// outerState is what one worker needs besides scratch floats.
type outerState struct {
	pairs []int32
	edge  []int32    // pairs of the rows of X that had to be copied
	x     []*float32 // where the rows of X of each unit of a run begin
	at    []*int32   // and the pairs of that unit
	tile  []float32
}

// visit is what a part does in one range of terms: it adds packed panels of Y to C, or to a partial C.
type visit struct {
	panel0, panel1 int
	packed         []float32
	partial, c     []float32
	sum            int // whether a tile adds to what is there
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
	o.group = min(panels, ceil(outerReads, o.Taps))
	o.units = min(units, max(1, outerArea/(area*o.group)))
	o.group = min(panels, max(o.group, outerArea/(area*o.units)))
	flops := 2 * float64(units*k.OR) * float64(o.N) * float64(o.Terms)
	parts := func() int { return ceil(units, o.units) * ceil(panels, o.group) * several }
	most := max(1, min(outerParts, int(flops*float64(several)/partFlops)))
	o.splits = max(1, min(ceil(most, parts()), o.Terms/outerSplit, outerShared/(o.panels.Len()*several)))
	for parts()*o.splits < most && (o.units > 1 || o.group > 1) {
		if o.group > 1 && (o.group*k.NR >= o.units*k.OR || o.units == 1) {
			o.group = ceil(o.group, 2)
		} else {
			o.units = ceil(o.units, 2)
		}
	}
	o.splits = max(1, min(o.splits, ceil(o.Terms, OuterTerms)))
	o.same = make([]int32, 2*OuterTerms)
	for p := range OuterTerms {
		o.same[2*p], o.same[2*p+1] = int32(p*k.NR), int32(p*k.NR)
	}
	run := max(o.blocks, outerCopied*k.NR/k.OR)
	o.state = make([]outerState, workers)
	for i := range o.state {
		o.state[i] = outerState{
			pairs: make([]int32, 2*OuterTerms), edge: make([]int32, 2*OuterTerms),
			x: make([]*float32, run), at: make([]*int32, run), tile: kern.Aligned(k.OR * k.NR),
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
func (o *Outer) Scratch() int { return OuterTerms * (o.group + outerCopied) * o.kernel.NR }

// Compute computes one part. partial has Partial() floats, and [Outer.Reduce] is to follow if these are any; else c gets
// the result at once.
func (o *Outer) Compute(part, worker int, s Pairs, scratch, partial, c, x, y, bias, add []float32) {
	k, state := o.kernel, &o.state[worker]
	groups := ceil(o.panels.Count(), o.group)
	ranges := ceil(o.Taps*o.blocks, o.units)
	split, rest := part/(groups*ranges), part%(groups*ranges)
	unit0, panel0 := rest/groups*o.units, rest%groups*o.group
	unit1, panel1 := min(unit0+o.units, o.Taps*o.blocks), min(panel0+o.group, o.panels.Count())
	v := visit{panel0: panel0, panel1: panel1, packed: scratch[:o.group*OuterTerms*k.NR], c: c}
	copied := scratch[o.group*OuterTerms*k.NR:]
	if o.splits > 1 {
		v.partial = partial[split*o.panels.Len():]
	} else if bias != nil || add != nil {
		o.initialise(unit0, unit1, panel0, panel1, c, bias, add)
		v.sum = 1
	}
	visits := ceil(o.Terms, OuterTerms)
	first, last := split*visits/o.splits*OuterTerms, min((split+1)*visits/o.splits*OuterTerms, o.Terms)
	for ; first < last || first == 0; first += OuterTerms {
		count := min(OuterTerms, last-first)
		if o.TransY {
			for j := panel0; j < panel1 && count > 0; j++ {
				packColumns(k, v.packed[(j-panel0)*OuterTerms*k.NR:], k.NR, y[j*k.NR*o.LDY+first:], o.LDY, count, o.panels.Columns(j))
			}
		} else {
			o.pack(v.packed, y, o.LDY, o.N, first, count, panel0, panel1)
		}
		for unit := unit0; unit < unit1; {
			if o.LDX > 0 {
				unit = o.dense(state, &v, copied, x, first, count, unit, unit1)
			} else {
				unit = o.found(state, &v, copied, x, s, first, count, unit, unit1, worker)
			}
		}
		v.sum = 1
	}
}

// dense adds the terms for some units from the given one on, with packed rows of X. It returns the next unit.
func (o *Outer) dense(s *outerState, v *visit, copied, x []float32, first, count, unit, end int) int {
	k := o.kernel
	each := k.NR / k.OR // units per panel of X
	panel := unit / each
	end = min((panel+outerCopied)*each, end)
	o.pack(copied, x, o.LDX, o.M, first, count, panel, ceil(end, each))
	for u := unit; u < end; u++ {
		s.x[u-unit], s.at[u-unit] = &copied[(u/each-panel)*OuterTerms*k.NR+u%each*k.OR], &o.same[0]
	}
	o.tiles(s, v, count, unit, end)
	return end
}

// found does the same for the units of one tap, with the rows of X that are not zero there.
func (o *Outer) found(s *outerState, v *visit, copied, x []float32, source Pairs, first, count, unit, end, worker int) int {
	k := o.kernel
	tap := unit / o.blocks
	end = min((tap+1)*o.blocks, end)
	n, rows := source.Pairs(s.pairs, first, count, tap, k.NR, worker, x)
	for u := unit; u < end; u++ {
		at := u % o.blocks * k.OR
		switch {
		case n == 0:
			s.x[u-unit], s.at[u-unit] = nil, nil
		case at+int(s.pairs[2*n-2])+k.OR > len(rows):
			// A tile reads OR floats of every row. Those beyond the row are harmless, unless they are beyond the slice.
			for p := range n {
				copy(copied[p*k.OR:][:min(k.OR, o.M-at)], rows[at+int(s.pairs[2*p]):])
				s.edge[2*p], s.edge[2*p+1] = int32(p*k.OR), s.pairs[2*p+1]
			}
			s.x[u-unit], s.at[u-unit] = &copied[0], &s.edge[0]
		default:
			s.x[u-unit], s.at[u-unit] = &rows[at], &s.pairs[0]
		}
	}
	o.tiles(s, v, n, unit, end)
	return end
}

// tiles adds n terms to the tiles of some units.
func (o *Outer) tiles(s *outerState, v *visit, n, unit0, unit1 int) {
	k := o.kernel
	for j := v.panel0; j < v.panel1; j++ {
		y := &v.packed[(j-v.panel0)*OuterTerms*k.NR]
		width, columns := o.panels.Width(j), o.panels.Columns(j)
		kernel := k.Outer
		if width < k.NR {
			kernel = k.OuterHalf
		}
		for unit := unit0; unit < unit1; unit++ {
			at, x := s.at[unit-unit0], s.x[unit-unit0]
			if v.partial != nil {
				kernel(n, at, x, y, &v.partial[o.panels.Start(j)+unit*k.OR*width], width, v.sum)
				continue
			}
			tap, block := unit/o.blocks, unit%o.blocks
			rows := min(k.OR, o.M-block*k.OR)
			to := (tap*o.M+block*k.OR)*o.LDC + j*k.NR
			if rows == k.OR && columns == width {
				kernel(n, at, x, y, &v.c[to], o.LDC, v.sum)
				continue
			}
			kernel(n, at, x, y, &s.tile[0], k.NR, 0)
			for i := range rows {
				var before []float32
				if v.sum != 0 {
					before = v.c
				}
				scatter(v.c[to+i*o.LDC:][:columns], s.tile[i*k.NR:], nil, before, to+i*o.LDC)
			}
		}
	}
}

// pack copies count rows of the given panels of a matrix with n columns; all panels get the full width.
func (o *Outer) pack(dst, src []float32, stride, n, first, count, panel, end int) {
	k := o.kernel
	if count == 0 {
		return
	}
	whole := min(end, n/k.NR) - panel
	if whole > 0 {
		k.Pack(whole, count, &src[first*stride+panel*k.NR], stride, &dst[0], OuterTerms*k.NR)
	}
	if j := panel + whole; j < end {
		packRows(dst[whole*OuterTerms*k.NR:], k.NR, src[first*stride+j*k.NR:], stride, count, n-j*k.NR)
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
