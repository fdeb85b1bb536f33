package kern

import (
	"math"
	"unsafe"
)

//go:generate go run -C ../asmgen . -kernels brain -out ../kern/brain_amd64.s -stubs ../kern/brain_stub_amd64.go -pkg kern

// Brain holds the kernels of products of bfloat16 numbers with sums in float32, those of the instructions AVX512_BF16. Two numbers that are
// neighbours in the sum lie in the place of one float32, the first in its lower half.
type Brain struct {
	// Gemm is that of the table, with such kernels for Tile, Half and Stream, whose A and B are pairs: kc is half the number of terms. To a sum s a pair adds
	//
	//	s = fl(a₁·b₁ + s), then s = fl(a₀·b₀ + s)
	//
	// each rounded once. Subnormal a, b, s and results are zeros with their sign.
	Gemm Gemm

	// Round writes the bfloat16 nearest to n ≥ 0 numbers, in a tie that with an even fraction. Subnormal numbers become zeros with their sign, NaNs quiet.
	Round func(dst *uint16, src *float32, n int)
}

var genericBrain = Brain{
	Gemm: func() Gemm {
		g := genericGemm
		g.Tile, g.Half, g.Stream = genericBrainTile, genericBrainHalf, genericBrainStream
		return g
	}(),
	Round: genericRound,
}

func genericBrainTile(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias *float32) {
	genericBrainHalf(taps, kc, a, b, ldb, c, ldc, add, ldadd, bias)
	if add != nil {
		add = at(add, genericHalf)
	}
	if bias != nil {
		bias = at(bias, genericHalf)
	}
	if b != nil { // else there are no terms
		b = at(b, genericHalf)
	}
	genericBrainHalf(taps, kc, a, b, ldb, at(c, genericHalf), ldc, add, ldadd, bias)
}

func genericBrainHalf(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias *float32) {
	rows := unsafe.Slice(a, taps*genericRows)
	for i := range genericRows {
		for j := range genericHalf {
			var s float32
			for t := range taps {
				for k := range kc {
					x := *(*uint32)(unsafe.Pointer(at(rows[t*genericRows+i], k)))
					s = addPair(s, x, *(*uint32)(unsafe.Pointer(at(b, (t*kc+k)*ldb+j))))
				}
			}
			if bias != nil {
				s += *at(bias, j)
			}
			if add != nil {
				s += *at(add, i*ldadd+j)
			}
			*at(c, i*ldc+j) = s
		}
	}
}

func genericBrainStream(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias, _ *float32) {
	genericBrainTile(taps, kc, a, b, ldb, c, ldc, add, ldadd, bias)
}

// addPair adds the products of a pair to a sum.
func addPair(s float32, x, y uint32) float32 {
	s = addProduct(s, math.Float32frombits(x&0xffff0000), math.Float32frombits(y&0xffff0000))
	return addProduct(s, math.Float32frombits(x<<16), math.Float32frombits(y<<16))
}

// addProduct adds the product of two numbers of 8 significant bits. In float64 the product is exact, and the sum is exact where it is near a tie of
// float32, so that it is rounded as if once.
func addProduct(s, x, y float32) float32 {
	const smallest = 0x1p-126 // that is not subnormal
	sum := float64(flushed(x))*float64(flushed(y)) + float64(flushed(s))
	if math.Abs(sum) < smallest {
		return float32(math.Copysign(0, sum))
	}
	return float32(sum)
}

// flushed is a zero for a subnormal number.
func flushed(x float32) float32 {
	if bits := math.Float32bits(x); bits&0x7f800000 == 0 {
		return math.Float32frombits(bits & 0x80000000)
	}
	return x
}

func genericRound(dst *uint16, src *float32, n int) {
	to := unsafe.Slice(dst, n)
	for i, x := range unsafe.Slice(src, n) {
		bits := math.Float32bits(flushed(x))
		if x != x {
			to[i] = uint16(bits>>16) | 1<<6
			continue
		}
		to[i] = uint16((bits + 0x7fff + bits>>16&1) >> 16)
	}
}
