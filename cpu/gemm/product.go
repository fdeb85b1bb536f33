package gemm

import (
	"math/bits"

	"github.com/doob-diffusion/doob/cpu/kern"
)

// Chunk is a part of the sum of a product: of the given taps, the terms From to From+Depth of each. It has one tap unless
// it has all their terms.
type Chunk struct{ Tap, Taps, From, Depth int }

// Tile rows that one part computes at most, in tiles, and panels likewise: A of a part and a chunk should stay in the
// second-level cache (8·12 rows of 384 floats are 147 KB), and parts should be many enough to share among 16 workers.
const (
	blockTiles  = 16
	groupPanels = 16
	chunkDepth  = 512
	enoughParts = 48
	partFlops   = 4e6 // some 20 µs
	touched     = 8   // cache lines of a row that are fetched before their tile is begun
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
// The sum is formed in chunks of about 384 terms, each from zero, added up in C: that is half of the error of one long
// sum, and B's chunk stays in the first-level cache.
type Product struct {
	Rows, Taps, Depth int
	B                 Panels

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
	tile []float32
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
			tile: kern.Aligned(k.MR * k.NR),
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
		const multiple = 16 // a cache line
		piece := ceil(ceil(depth, pieces), multiple) * multiple
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
	kernel := k.Tile
	if width < k.NR {
		kernel = k.Half
	}
	if bias != nil {
		bias = bias[j*k.NR:][:columns]
	}
	begin := p.B.Start(j) + (chunk.Tap*p.Depth+chunk.From)*width
	for t := 0; t*k.MR < count; t++ {
		if p.Taps == 1 && j%p.group == 0 && (t+1)*k.MR < count {
			k.Touch(k.MR, &s.rows[(t+1)*chunk.Taps*k.MR], touched)
		}
		at := s.c[t*k.MR : min((t+1)*k.MR, count)]
		stride, even := spacing(at)
		direct := even && len(at) == k.MR && columns == width
		to, ld := &s.tile[0], k.NR
		var addp, biasp *float32
		if direct {
			to, ld = &c[at[0]+j*k.NR], stride
			if add != nil {
				addp = &add[at[0]+j*k.NR]
			}
			if bias != nil {
				biasp = &bias[0]
			}
		}
		// One call per run of adjacent taps; without taps the kernel still writes what is to be added.
		for used := s.used[t]; ; {
			from := bits.TrailingZeros64(used)
			taps := bits.TrailingZeros64(^(used >> from))
			if used == 0 {
				if addp == to && biasp == nil {
					break
				}
				kernel(0, 0, nil, nil, 0, to, ld, addp, ld, biasp)
				break
			}
			kernel(taps, chunk.Depth, &s.rows[(t*chunk.Taps+from)*k.MR], &b[begin+from*chunk.Depth*width], width, to, ld, addp, ld, biasp)
			if used &^= (1<<taps - 1) << from; used == 0 {
				break
			}
			addp, biasp = to, nil
		}
		for i, row := range at {
			if direct {
				break
			}
			scatter(c[row+j*k.NR:][:columns], s.tile[i*k.NR:][:columns], bias, add, row+j*k.NR)
		}
	}
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
