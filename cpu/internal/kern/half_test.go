package kern

import (
	"math"
	"testing"
)

// The definition: ± fraction · 2^exponent, formed in float64.
func float16Of(h uint16) float64 {
	sign := 1.0
	if h>>15 == 1 {
		sign = -1
	}
	exponent, fraction := int(h>>10&0x1f), float64(h&0x3ff)
	switch exponent {
	case 0:
		return math.Copysign(math.Ldexp(fraction, -24), sign)
	case 0x1f:
		if fraction == 0 {
			return math.Inf(int(sign))
		}
		return math.NaN()
	}
	return sign * math.Ldexp(1024+fraction, exponent-15-10)
}

func TestHalfOnAllPatterns(t *testing.T) {
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	for _, table := range Tables() {
		half, brain := make([]float32, len(all)), make([]float32, len(all))
		table.Half.Float16(&half[0], &all[0], len(all))
		table.Half.BFloat16(&brain[0], &all[0], len(all))
		for i := range all {
			bits, want := math.Float32bits(half[i]), float16Of(all[i])
			if math.IsNaN(want) {
				// Sign and fraction stay, and the NaN is quiet.
				if w := uint32(i>>15)<<31 | 0x7fc00000 | uint32(i&0x3ff)<<13; bits != w {
					t.Fatalf("%s: binary16 %#04x is %#08x, want the NaN %#08x", table.Name, i, bits, w)
				}
			} else if bits != math.Float32bits(float32(want)) {
				t.Fatalf("%s: binary16 %#04x is %v, want %v", table.Name, i, half[i], want)
			}
			if bits := math.Float32bits(brain[i]); bits != uint32(i)<<16 {
				t.Fatalf("%s: bfloat16 %#04x is %#08x, want %#08x", table.Name, i, bits, uint32(i)<<16)
			}
		}
	}
}

// Any length, from any place, and nothing beside it.
func TestHalfOfOddLengths(t *testing.T) {
	src := make([]uint16, 80)
	for i := range src {
		src[i] = uint16(0x3c00 + 7*i)
	}
	for _, table := range Tables() {
		for name, widen := range map[string]Widening{"binary16": table.Half.Float16, "bfloat16": table.Half.BFloat16} {
			for n := range 50 {
				for from := range 3 {
					got, want := make([]float32, 80), make([]float32, 80)
					for i := range got {
						got[i], want[i] = -1, -1
					}
					widen(&got[5], &src[from], n)
					for i := range n {
						widen(&want[5+i], &src[from+i], 1)
					}
					for i := range got {
						if got[i] != want[i] {
							t.Fatalf("%s: %s: %d from %d: number %d is %v, want %v", table.Name, name, n, from, i, got[i], want[i])
						}
					}
				}
			}
		}
	}
}
