package lora

import (
	"maps"
	"slices"
)

// Scaled returns the adapter with all that it changes taken times s. The numbers of its pairs are shared.
func (a Adapter) Scaled(s float64) Adapter {
	times := func(pairs map[string]Pair) map[string]Pair {
		pairs = maps.Clone(pairs)
		for module, p := range pairs {
			p.Scale *= s
			pairs[module] = p
		}
		return pairs
	}
	return Adapter{UNet: times(a.UNet), Text: times(a.Text)}
}

// Less returns p − q of two changes of one map, scales included: [B, −B_q]·[A; A_q], whose rank is the sum of both.
func (p Pair) Less(q Pair) Pair {
	out := p
	out.Rank, out.Scale = p.Rank+q.Rank, 1
	out.A = slices.Concat(p.A, q.A)
	out.B = nil
	for o := range p.Out {
		for i := range p.Rank {
			out.B = append(out.B, float32(p.Scale*float64(p.B[o*p.Rank+i])))
		}
		for i := range q.Rank {
			out.B = append(out.B, float32(-q.Scale*float64(q.B[o*q.Rank+i])))
		}
	}
	return out
}
