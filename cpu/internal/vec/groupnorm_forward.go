package vec

import "math"

// normState is what is known about an image: sums by block and channel, statistics, and the coefficients of the passes,
// which are repeated for the pixels of a tile.
type normState struct {
	partial []float64 // [blocks, 2, channels] sums of x − k and of its square, later of dz and of dz·(x − center)
	mean    []float64 // [channels] mean of x
	rstd    []float64 // [groups] 1/√(σ² + ε)
	a, b    []float32 // [tile, channels] y = f(x·a + b)
	center  []float32 // [tile, channels] μ
	p, q, r []float32 // [tile, channels] dx = dz·p + x·q + r
}

// lines rounds a number of values up to whole cache lines.
func lines(n int) int { return ceil(n, 16) * 16 }

func (g *GroupNorm) stateSize() int {
	channels, groups := g.spec.Channels, g.spec.Groups
	return lines(4*g.blocks*channels) + lines(2*channels) + lines(2*groups) + 6*lines(g.tile*channels)
}

func (g *GroupNorm) view(area []float32) normState {
	take := func(n int) []float32 {
		taken := area[:n]
		area = area[lines(n):]
		return taken
	}
	channels, groups, wide := g.spec.Channels, g.spec.Groups, g.tile*g.spec.Channels
	return normState{
		partial: doubles(take(4 * g.blocks * channels)), mean: doubles(take(2 * channels)),
		rstd: doubles(take(2 * groups)), a: take(wide), b: take(wide), center: take(wide), p: take(wide), q: take(wide), r: take(wide),
	}
}

// stateOf is the state of an image in shared memory, ownState one in the scratch of a worker.
func (g *GroupNorm) stateOf(image int) normState {
	size := g.stateSize()
	return g.view(g.states[image*size : (image+1)*size])
}

func (g *GroupNorm) ownState(worker int) normState {
	return g.view(g.scratch(worker)[3*lines(g.tile*g.spec.Channels):])
}

// scratch is the memory of a worker: three rows of a tile, and a state.
func (g *GroupNorm) scratch(worker int) []float32 {
	return g.ctx.Scratch(worker, 3*lines(g.tile*g.spec.Channels)+g.stateSize())
}

// sums returns two rows of zeros and a third one from the scratch of a worker.
func (g *GroupNorm) sums(worker int) (sum, product, other []float32) {
	size := lines(g.tile * g.spec.Channels)
	area := g.scratch(worker)
	clear(area[:2*size])
	return area[:size], area[size : 2*size], area[2*size : 3*size]
}

// tiles calls the kernel for a block of an image, in calls of bounded length: on rows of n values beginning at x[at], first
// whole tiles, then the pixels that are left as one row.
func (g *GroupNorm) tiles(image, block int, kernel func(at, n, rows int)) {
	channels := g.spec.Channels
	wide := g.tile * channels
	first, last := span(block, g.rows, g.spec.Spatial)
	at, end := (image*g.spec.Spatial+first)*channels, (image*g.spec.Spatial+last)*channels
	for most := max(1, call/wide); end-at >= wide; {
		rows := min(most, (end-at)/wide)
		kernel(at, wide, rows)
		at += rows * wide
	}
	if at < end {
		kernel(at, end-at, 1)
	}
}

// fold adds the sums over the pixels of a tile to those over the channels.
func (g *GroupNorm) fold(total []float64, sum []float32) {
	clear(total)
	for at := 0; at < g.tile*g.spec.Channels; at += g.spec.Channels {
		for c, v := range sum[at : at+g.spec.Channels] {
			total[c] += float64(v)
		}
	}
}

// spread repeats the coefficients of the channels for all pixels of a tile.
func (g *GroupNorm) spread(rows ...[]float32) {
	for _, row := range rows {
		for at := g.spec.Channels; at < len(row); at += g.spec.Channels {
			copy(row[at:], row[:g.spec.Channels])
		}
	}
}

// shift returns k, the first value of each channel of an image.
func (g *GroupNorm) shift(image int) []float32 {
	return g.x[image*g.spec.Spatial*g.spec.Channels:][:g.spec.Channels]
}

// momentsOf forms the sums of x − k and (x − k)² over a block. Without k a large mean would cancel; as k is one of the
// values of the channel, (mean − k)² is at most Spatial times the variance.
func (g *GroupNorm) momentsOf(image, block, worker int, s *normState) {
	channels, kernel := g.spec.Channels, g.ctx.Vec.Moments
	sum, square, k := g.sums(worker)
	copy(k, g.shift(image))
	g.spread(k[:g.tile*channels])
	g.tiles(image, block, func(at, n, rows int) {
		kernel(&sum[0], &square[0], &g.x[at], &k[0], n, rows, n)
	})
	partial := s.partial[2*block*channels:]
	g.fold(partial[:channels], sum)
	g.fold(partial[channels:2*channels], square)
}

// total adds the sums of the blocks to those of the first.
func (g *GroupNorm) total(s *normState) (sum, product []float64) {
	size := 2 * g.spec.Channels
	all := s.partial[:size]
	for at := size; at < len(s.partial); at += size {
		for c, v := range s.partial[at : at+size] {
			all[c] += v
		}
	}
	return all[:g.spec.Channels], all[g.spec.Channels:]
}

// normaliseOf turns the sums of an image into its statistics and the coefficients of y. A group has the variance within
// its channels and that between their means.
func (g *GroupNorm) normaliseOf(image int, s *normState) {
	sum, square := g.total(s)
	count, shift := float64(g.spec.Spatial), g.shift(image)
	scale, bias := g.of(image, g.scale), g.of(image, g.bias)
	for group := range s.rstd {
		first, last := span(group, g.width, g.spec.Channels)
		var mean, variance float64
		for c := first; c < last; c++ {
			m := sum[c] / count
			s.mean[c] = float64(shift[c]) + m
			mean += s.mean[c] / float64(g.width)
			variance += max(0, square[c]/count-m*m)
		}
		for c := first; c < last; c++ {
			d := s.mean[c] - mean
			variance += d * d
		}
		rstd := 1 / math.Sqrt(variance/float64(g.width)+g.spec.Epsilon)
		s.rstd[group] = rstd
		for c := first; c < last; c++ {
			a := float64(scale[c]) * rstd
			s.center[c], s.a[c], s.b[c] = float32(mean), float32(a), float32(float64(bias[c])-mean*a)
		}
	}
	g.spread(s.center, s.a, s.b)
}

func (g *GroupNorm) applyOf(image, block int, s *normState) {
	kernel := g.ctx.Vec.AffineRows
	if g.spec.SiLU {
		kernel = g.ctx.Vec.AffineSiLURows
	}
	g.tiles(image, block, func(at, n, rows int) {
		kernel(&g.y[at], &g.x[at], &s.a[0], &s.b[0], n, rows, n)
	})
}
