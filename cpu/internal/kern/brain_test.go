package kern

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// brains are the instruction sets that have products of bfloat16.
func brains(t *testing.T) (tables []*Table) {
	for _, table := range Tables() {
		if table.Brain != nil {
			tables = append(tables, table)
		} else {
			t.Logf("%s has no products of bfloat16 here", table.Name)
		}
	}
	return tables
}

// patterns returns n numbers as bits of 32: any at all, or of similar size.
func patterns(r *rand.Rand, n int, any bool) []float32 {
	v := Aligned(n)
	for i := range v {
		bits := r.Uint32()
		if !any { // both halves from 2⁻⁴ to 2⁴, as bfloat16 or float32
			bits = bits&0x807f807f | uint32(123+r.IntN(8))<<23 | uint32(123+r.IntN(8))<<7
		}
		v[i] = math.Float32frombits(bits)
	}
	return v
}

func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// A pair adds what two sums of big numbers give that are rounded once each; by hand where the last digit tells the order.
func TestAddPair(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	one := func(s, x, y float32) float32 {
		sum := new(big.Float).SetPrec(600).Mul(big.NewFloat(float64(x)), big.NewFloat(float64(y)))
		f, _ := sum.SetPrec(600).Add(sum, big.NewFloat(float64(s))).Float32()
		return f
	}
	for range 100000 {
		// Ties and near ties: the product is about half of the last digit of the sum, or the sum of that of the product.
		x, y := patterns(r, 2, false), patterns(r, 1, false)[0]
		a, b := math.Float32bits(x[0])&^0x7f800000|uint32(127-r.IntN(26))<<23, math.Float32bits(x[1])
		upper := one(y, math.Float32frombits(a&0xffff0000), math.Float32frombits(b&0xffff0000))
		want := one(upper, math.Float32frombits(a<<16), math.Float32frombits(b<<16))
		if got := addPair(y, a, b); !sameBits(got, want) {
			t.Fatalf("%08x·%08x + %g = %g, want %g", a, b, y, got, want)
		}
	}
	bits := func(lower, upper float32) uint32 { return math.Float32bits(lower)>>16 | math.Float32bits(upper) }
	for _, c := range []struct {
		s, a0, a1, b0, b1, want float32
	}{
		{-0x1p30, 1, 0x1p30, 1, 1, 1}, // the upper half comes first
		{-0x1p30, 0x1p30, 1, 1, 1, 0}, // and here the one is lost beside the sum
		{1, 0, 0x1p-24, 0, 1, 1},      // a tie, which goes to 1
		{1, 0, 0x1.02p-24, 0, 1, 1 + 0x1p-23},
		{0, 0x1p-100, 0, 0x1p-30, 0, 0},         // a subnormal product
		{0x1p-130, 0, 0, 0, 0, 0},               // a subnormal sum
		{0, 0x1p-130, 0x1p-130, 1e30, -1e30, 0}, // subnormal factors
	} {
		if got := addPair(c.s, bits(c.a0, c.a1), bits(c.b0, c.b1)); got != c.want {
			t.Errorf("%g + %g·%g + %g·%g = %g, want %g", c.s, c.a1, c.b1, c.a0, c.b0, got, c.want)
		}
	}
}

// Kernels give the bits of the portable function for one pair after the other, for any bits.
func TestBrainTile(t *testing.T) {
	for _, table := range brains(t) {
		g := &table.Brain.Gemm
		stream := func(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias *float32) {
			g.Stream(taps, kc, a, b, ldb, c, ldc, add, ldadd, bias, b)
		}
		for i, tile := range []func(int, int, **float32, *float32, int, *float32, int, *float32, int, *float32){g.Tile, stream, g.Half} {
			width := g.NR / (1 + i/2)
			for _, taps := range []int{0, 1, 3} {
				for _, kc := range []int{0, 1, 2, 17, 64} {
					for variant := range 4 {
						name := fmt.Sprintf("%s, kernel %d, taps %d, kc %d, variant %d", table.Name, i, taps, kc, variant)
						r := rand.New(rand.NewPCG(uint64(taps), uint64(kc)))
						ldb, ldc := width+5*(variant&1), width+3
						x, b := patterns(r, 1000, variant == 3), patterns(r, (taps*kc+1)*ldb, variant == 3)
						c, add, bias := gemmInput(r, g.MR*ldc), gemmInput(r, g.MR*ldc), gemmInput(r, width)
						before := append([]float32(nil), c...)
						rows, start := make([]*float32, taps*g.MR+1), make([]int, taps*g.MR+1)
						for i := range rows {
							start[i] = r.IntN(1000 - kc)
							rows[i] = &x[start[i]]
						}
						addp, biasp := &add[0], &bias[0]
						if variant == 1 {
							addp, biasp = nil, nil
						}
						tile(taps, kc, &rows[0], &b[0], ldb, &c[0], ldc, addp, ldc, biasp)
						for i := range g.MR {
							for j := range ldc {
								want := before[i*ldc+j]
								if j < width {
									want = 0
									for k := range taps * kc {
										want = addPair(want, math.Float32bits(x[start[k/kc*g.MR+i]+k%kc]), math.Float32bits(b[k*ldb+j]))
									}
									if biasp != nil {
										want = (want + bias[j]) + add[i*ldc+j]
									}
								}
								if got := c[i*ldc+j]; !sameBits(got, want) {
									t.Fatalf("%s: C[%d,%d] is %g, want %g", name, i, j, got, want)
								}
							}
						}
					}
				}
			}
		}
	}
}

// Rounding goes to the nearest bfloat16, and in a tie to the even one; all instruction sets give the same bits for any number.
func TestBrainRound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	x := patterns(r, 1<<16, true)
	for i := range 1 << 12 { // ties, subnormal numbers, infinities
		x[3*i] = math.Float32frombits(r.Uint32()&0xffff0000 | 0x8000)
		x[3*i+1] = math.Float32frombits(r.Uint32() & 0x80ffffff)
	}
	x[0], x[1], x[2], x[3] = float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, float32(math.Copysign(0, -1))
	want := make([]uint16, len(x))
	genericRound(&want[0], &x[0], len(x))
	for i, v := range x {
		got := math.Float32frombits(uint32(want[i]) << 16)
		switch magnitude := math.Abs(float64(v)); {
		case v != v:
			if got == got {
				t.Fatalf("NaN %08x became %g", math.Float32bits(v), got)
			}
		case magnitude < 0x1p-126:
			if got != 0 || math.Signbit(float64(got)) != math.Signbit(float64(v)) {
				t.Fatalf("subnormal %g became %g", v, got)
			}
		case magnitude < 0x1.ffp127:
			// The neighbours are no nearer, and where one is as near, its fraction is odd.
			own := math.Abs(float64(got) - float64(v))
			for _, other := range []uint16{want[i] - 1, want[i] + 1} {
				d := math.Abs(float64(math.Float32frombits(uint32(other)<<16)) - float64(v))
				if d < own || d == own && want[i]&1 == 1 {
					t.Fatalf("%g became %g, and %04x is nearer or as near", v, got, other)
				}
			}
		}
	}
	for _, table := range brains(t) {
		for _, n := range []int{0, 1, 31, 32, 33, 97, len(x)} {
			got := make([]uint16, n+1)
			got[n] = 12345
			table.Brain.Round(unsafe.SliceData(got), &x[0], n)
			for i := range n {
				if got[i] != want[i] {
					t.Fatalf("%s, %d numbers: %08x became %04x, want %04x", table.Name, n, math.Float32bits(x[i]), got[i], want[i])
				}
			}
			if got[n] != 12345 {
				t.Fatalf("%s, %d numbers: one more was written", table.Name, n)
			}
		}
	}
}
