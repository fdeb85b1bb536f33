package gemm

import (
	"math/bits"
	"unsafe"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Chunk is a part of the sum of a product: of the given taps, the terms From to From+Depth of each. It has one tap unless
// it has all their terms.
type Chunk struct{ Tap, Taps, From, Depth int }

// How a product is divided. A chunk of A for all tiles of a part should stay in the second-level cache (16·12 rows of 512
// floats are 400 KB) together with a panel's chunk of B (64 KB).
const (
	blockTiles  = 16  // tiles that are under each other in a part, at most
	groupPanels = 16  // panels of a part, at most
	chunkDepth  = 512 // terms of a chunk, about
	enoughParts = 48  // parts that 16 workers can share evenly
	partFlops   = 4e6 // less is not worth a part: some 20 µs
	line        = 16  // floats in a cache line
	touched     = 8   // lines of a row that are fetched before their tile is begun
)

// Source tells a [Product] where the rows of A and C are.
type Source interface {
	// Place sets c[i] to the offset in C of row first+i.
	Place(c []int, first int)
	// Point makes rows[(tile·Taps + tap)·MR + i] point to the terms of the chunk in row first + tile·MR + i, for count rows
	// and for the pointers that fill the last tile. It may take the bits of those taps from used[tile] that are zero in all
	// rows of the tile: then their terms are left out.
	Point(rows []*float32, used []uint64, first, count int, chunk Chunk, worker int, a []float32)
}

// Product is the plan of C = Σ_t A_t·B_t (+ bias) (+ add) over Taps taps, each a product of depth Depth, where row r of A_t
// is any Depth adjacent floats and C is Rows×N. B is packed with K = Taps·Depth.
//
// The sum is formed in chunks of about 512 terms, each from zero, which are added up in C. That has a smaller error than
// one long sum, and what a chunk needs stays in the cache.
type Product struct {
	Rows, Taps, Depth int
	B                 Panels
	LDB               int // if not 0, B is not packed but has rows of this stride, and N is a multiple of NR

	kernel *kern.Gemm
	tiles  int // per block of rows
	group  int // panels per part
	groups int
	blocks int
	chunks []Chunk
	state  []state
}

// state is what one worker needs besides scratch floats.
type state struct {
	rows []*float32
	c    []int
	used []uint64
	tile []float32 // for tiles that C has no room for
	bias []float32
}

// NewProduct plans a product. It is one of several of equal shape that are to be computed.
func NewProduct(k *kern.Gemm, workers, rows, taps, depth, n, several int) *Product {
	p := &Product{Rows: rows, Taps: taps, Depth: depth, B: Panels{K: taps * depth, N: n, NR: k.NR}, kernel: k}
	p.chunks = split(taps, depth)
	tiles, panels := (rows+k.MR-1)/k.MR, p.B.Count()
	if tiles == 0 || panels == 0 || several == 0 {
		return p
	}
	p.tiles, p.group = min(tiles, blockTiles), min(panels, groupPanels)
	flops := 2 * float64(tiles*k.MR) * float64(n) * float64(taps*depth)
	parts := func() int { return ceil(tiles, p.tiles) * ceil(panels, p.group) }
	for parts()*several < enoughParts && flops > partFlops*float64(parts()) && (p.tiles > 1 || p.group > 1) {
		// Halve the longer side: a part reads (tiles·MR + group·NR)·K floats.
		if p.group > 1 && (p.group*k.NR >= p.tiles*k.MR || p.tiles == 1) {
			p.group = ceil(p.group, 2)
		} else {
			p.tiles = ceil(p.tiles, 2)
		}
	}
	p.blocks, p.groups = ceil(tiles, p.tiles), ceil(panels, p.group)
	p.tiles, p.group = ceil(tiles, p.blocks), ceil(panels, p.groups)
	p.blocks, p.groups = ceil(tiles, p.tiles), ceil(panels, p.group)
	longest := 1
	for _, c := range p.chunks {
		longest = max(longest, c.Taps)
	}
	p.state = make([]state, workers)
	for i := range p.state {
		p.state[i] = state{
			rows: make([]*float32, p.tiles*longest*k.MR),
			c:    make([]int, p.tiles*k.MR),
			used: make([]uint64, p.tiles),
			tile: kern.Aligned(k.MR * k.NR), bias: kern.Aligned(k.NR),
		}
	}
	return p
}

func ceil(a, b int) int { return (a + b - 1) / b }

// split divides the sum into chunks of nearly equal length; there is at least one, maybe of no terms.
func split(taps, depth int) []Chunk {
	if taps*depth == 0 {
		return []Chunk{{}}
	}
	var chunks []Chunk
	if pieces := ceil(depth, chunkDepth+chunkDepth/3); pieces > 1 {
		piece := ceil(ceil(depth, pieces), line) * line
		for t := range taps {
			for k := 0; k < depth; k += piece {
				chunks = append(chunks, Chunk{Tap: t, Taps: 1, From: k, Depth: min(piece, depth-k)})
			}
		}
		return chunks
	}
	each := min(ceil(taps, ceil(taps*depth, chunkDepth+chunkDepth/3)), 64)
	for t := 0; t < taps; t += each {
		chunks = append(chunks, Chunk{Tap: t, Taps: min(each, taps-t), Depth: depth})
	}
	return chunks
}

// Parts returns into how many parts the product is divided.
func (p *Product) Parts() int { return p.blocks * p.groups }

// BlockRows returns how many rows one part has at most.
func (p *Product) BlockRows() int { return p.tiles * p.kernel.MR }

// Compute computes one part. b is B packed; add has the layout of c, and may be c or nil; bias has N floats or is nil.
func (p *Product) Compute(part, worker int, source Source, c, a, b, bias, add []float32) {
	k := p.kernel
	block, group := part/p.groups, part%p.groups
	first := block * p.tiles * k.MR
	count := min(p.tiles*k.MR, p.Rows-first)
	s := &p.state[worker]
	source.Place(s.c[:count], first)
	for _, chunk := range p.chunks {
		for t := range s.used {
			s.used[t] = 1<<chunk.Taps - 1
		}
		if chunk.Taps > 0 {
			source.Point(s.rows, s.used, first, count, chunk, worker, a)
		}
		for j := group * p.group; j < min((group+1)*p.group, p.B.Count()); j++ {
			p.panel(s, j, count, chunk, c, b, bias, add)
		}
		add, bias = c, nil
	}
}

// panel computes a chunk of the sum for all tiles of a block in one panel.
func (p *Product) panel(s *state, j, count int, chunk Chunk, c, b, bias, add []float32) {
	k := p.kernel
	width, columns := p.B.Width(j), p.B.Columns(j)
	row, ldb := chunk.Tap*p.Depth+chunk.From, width
	if p.LDB > 0 {
		ldb = p.LDB
		b = b[min(j*k.NR+row*ldb, len(b)):]
	} else {
		b = b[p.B.Start(j)+row*width:]
	}
	accumulates := add != nil && &add[0] == &c[0]
	c = c[j*k.NR:]
	if add != nil {
		add = add[j*k.NR:]
	}
	var biasp *float32
	if bias != nil {
		clear(s.bias[copy(s.bias, bias[j*k.NR:][:columns]):])
		biasp = &s.bias[0]
	}
	for t := range ceil(count, k.MR) {
		next := p.ahead(s, t, j, count, chunk, b)
		if s.used[t] == 0 && bias == nil && accumulates {
			continue // nothing to add
		}
		at := s.c[t*k.MR : min((t+1)*k.MR, count)]
		if stride, even := spacing(at); even && len(at) == k.MR && columns == width {
			var addp *float32
			if add != nil {
				addp = &add[at[0]]
			}
			p.tile(s, t, chunk, width, b, ldb, &c[at[0]], stride, addp, biasp, next)
			continue
		}
		var addp *float32
		if add != nil {
			addp = &s.tile[0]
			for i, row := range at {
				copy(s.tile[i*k.NR:], add[row:][:columns])
			}
		}
		p.tile(s, t, chunk, width, b, ldb, &s.tile[0], k.NR, addp, biasp, next)
		for i, row := range at {
			copy(c[row:][:columns], s.tile[i*k.NR:])
		}
	}
}

// tile computes a chunk of the sum for one tile: a call of the kernel per run of adjacent taps.
func (p *Product) tile(s *state, t int, chunk Chunk, width int, b []float32, ldb int, c *float32, ldc int, add, bias, next *float32) {
	k := p.kernel
	kernel := k.Tile
	if width < k.NR {
		kernel, next = k.Half, nil
	}
	used := s.used[t]
	if used == 0 { // what is to be added is written all the same
		kernel(0, 0, nil, nil, 0, c, ldc, add, ldc, bias)
		return
	}
	for used != 0 {
		from := bits.TrailingZeros64(used)
		taps := bits.TrailingZeros64(^(used >> from))
		used &^= (1<<taps - 1) << from
		rows, b := &s.rows[(t*chunk.Taps+from)*k.MR], &b[from*chunk.Depth*ldb]
		if next != nil {
			k.Stream(taps, chunk.Depth, rows, b, ldb, c, ldc, add, ldc, bias, next)
		} else {
			kernel(taps, chunk.Depth, rows, b, ldb, c, ldc, add, ldc, bias)
		}
		add, bias = c, nil
	}
}

// ahead asks the memory for what comes after tile t of panel j: the next tile's rows of A, which later panels find in the
// cache, and at last the next panel. It returns from where on the kernel is to do that.
func (p *Product) ahead(s *state, t, j, count int, chunk Chunk, b []float32) *float32 {
	k := p.kernel
	left := ceil(count, k.MR) - t - 1
	terms := chunk.Taps * chunk.Depth
	if j%p.group == 0 && left > 0 && terms > 0 {
		row := s.rows[(t+1)*chunk.Taps*k.MR:]
		if p.Taps == 1 && uintptr(unsafe.Pointer(row[1]))-uintptr(unsafe.Pointer(row[0])) == uintptr(4*chunk.Depth) {
			return row[0]
		}
		k.Touch(chunk.Taps*k.MR, &row[0], min(touched, ceil(chunk.Depth, line)))
	}
	// A step of the kernel takes NR floats of a panel and fetches a line: as many as there are take NR/line tiles.
	if calls := k.NR / line; left < calls && p.LDB == 0 && (j+1)%p.group != 0 && j+1 < p.B.Count() {
		if at := p.B.Start(1) + (calls-1-left)*terms*line; at < len(b) {
			return &b[at]
		}
	}
	return nil
}

// spacing returns the distance between offsets if it is the same everywhere.
func spacing(at []int) (stride int, even bool) {
	if len(at) < 2 {
		return 0, true
	}
	stride = at[1] - at[0]
	for i := 2; i < len(at); i++ {
		if at[i]-at[i-1] != stride {
			return 0, false
		}
	}
	return stride, true
}
