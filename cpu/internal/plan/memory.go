package plan

import (
	"cmp"
	"slices"
)

// Kind says whose memory a value lives in.
type Kind int

// Arena is the program's own memory, reused from run to run; Param and Out belong to the caller; Const to the program.
const (
	Arena Kind = iota
	Param
	Out
	Const
)

// Place is where a value lives: at Offset bytes in the arena, or in parameter, output or constant Index.
type Place struct {
	Kind   Kind
	Offset int
	Index  int
}

// Layout is the result of [Arrange].
type Layout struct {
	Places map[*Value]Place
	// Bytes is the size of the arena.
	Bytes int
	// Consts are the constants, by the Index of their places.
	Consts []*Value
	// Donor[i] is the parameter whose memory output i takes over, or −1. Copied[i] says that output i is no result of
	// a step and has to be copied from the place of Outs[i] at the end.
	Donor  []int
	Copied []bool
}

// block is memory that values use one after another.
type block struct {
	bytes      int
	begin, end int // positions of the first and last step that need it
	place      Place
	last       *Value // what is in it at the end
}

const align = 64

// Arrange decides where every value of a program lives if the parameters marked in donated may be overwritten.
func Arrange(p *Program, donated []bool) *Layout {
	number(p)
	l := &Layout{Places: map[*Value]Place{}, Donor: make([]int, len(p.Outs)), Copied: make([]bool, len(p.Outs))}
	end := len(p.Steps)
	last := map[*Value]int{}
	for _, s := range p.Steps {
		for _, v := range slices.Concat(s.In, s.Out) {
			last[v] = s.position
		}
	}
	made := map[*Value]bool{}
	for _, s := range p.Steps {
		for _, v := range s.Out {
			made[v] = true
		}
	}
	out := map[*Value]int{}
	for i, v := range p.Outs {
		l.Donor[i] = -1
		if _, twice := out[v]; twice || !made[v] {
			l.Copied[i] = true
		} else {
			out[v] = i
		}
		last[v] = end
	}
	for i, v := range p.Params {
		l.Places[v] = Place{Kind: Param, Index: i}
	}

	blocks := map[*Value]*block{}
	var arena []*block
	for i, v := range p.Params {
		if i < len(donated) && donated[i] {
			blocks[v] = &block{bytes: bytes(v), end: end, place: l.Places[v], last: v}
		}
	}
	for _, s := range p.Steps {
		for _, v := range s.In {
			l.constant(v)
		}
		for _, v := range s.Out {
			k, isOut := out[v]
			b := s.overwritten(v, last, blocks)
			switch {
			case b == nil:
				b = &block{bytes: bytes(v), begin: s.position}
				if isOut {
					b.place = Place{Kind: Out, Index: k}
				}
				arena = append(arena, b)
			case isOut && b.place.Kind == Param:
				l.Donor[k] = b.place.Index
			case isOut && b.place.Kind == Arena:
				b.place = Place{Kind: Out, Index: k}
			}
			b.last, b.end = v, last[v]
			blocks[v] = b
		}
	}
	for _, v := range p.Outs {
		l.constant(v)
	}
	l.pack(arena)
	for v, b := range blocks {
		l.Places[v] = b.place
	}
	return l
}

// constant places v if it is a constant.
func (l *Layout) constant(v *Value) {
	if _, placed := l.Places[v]; v.Const != nil && !placed {
		l.Places[v] = Place{Kind: Const, Index: len(l.Consts)}
		l.Consts = append(l.Consts, v)
	}
}

func bytes(v *Value) int { return v.DType.SizeForDimensions(v.Dims...) }

// overwritten returns the block of an operand that nobody needs after this step and in whose place the step may write v.
func (s *Step) overwritten(v *Value, last map[*Value]int, blocks map[*Value]*block) *block {
	for i, u := range s.In {
		b := blocks[u]
		if b == nil || b.last != u || last[u] != s.position || b.bytes != bytes(v) || v.DType != u.DType {
			continue
		}
		if s.inPlace(i, u, v) {
			return b
		}
	}
	return nil
}

// inPlace reports whether the step reads element k of input i no later than it writes element k of v. Only a chain does so
// for an operand that it has twice.
func (s *Step) inPlace(i int, u, v *Value) bool {
	_, chain := s.Op.(*Chain)
	if slices.Index(s.In, u) != i || !chain && slices.Contains(s.In[i+1:], u) {
		return false
	}
	switch op := s.Op.(type) {
	case *Chain:
		for _, o := range op.Operands {
			if s.In[o.Input] == u && !o.whole(u) {
				return false
			}
		}
		return op.Size == u.Size()
	case *Product:
		return op.Residual > 0 && i == op.Residual
	case *Convolution:
		return op.Residual > 0 && i == op.Residual
	case Named:
		// p, gradient, m, v and average, value: each result lies where the old one was.
		switch op.Name {
		case "adamw":
			return i == 0 && v == s.Out[0] || i == 2 && v == s.Out[1] || i == 3 && v == s.Out[2]
		case "ema":
			return i == 0
		}
	}
	return false
}

// pack gives every block of the arena an offset: the largest first, each at the lowest place that is free while it is needed.
func (l *Layout) pack(blocks []*block) {
	blocks = slices.DeleteFunc(slices.Clone(blocks), func(b *block) bool { return b.place.Kind != Arena })
	slices.SortStableFunc(blocks, func(a, b *block) int { return cmp.Compare(b.bytes, a.bytes) })
	var placed []*block // by offset
	for _, b := range blocks {
		at := 0
		for _, q := range placed {
			if q.end < b.begin || b.end < q.begin {
				continue
			}
			if q.place.Offset >= at+b.bytes {
				break
			}
			at = max(at, (q.place.Offset+q.bytes+align-1)/align*align)
		}
		b.place.Offset = at
		l.Bytes = max(l.Bytes, at+b.bytes)
		i, _ := slices.BinarySearchFunc(placed, b, func(a, b *block) int { return cmp.Compare(a.place.Offset, b.place.Offset) })
		placed = slices.Insert(placed, i, b)
	}
}
