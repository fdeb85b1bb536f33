package kern

import (
	"math"
	"unsafe"
)

//go:generate go run -C ../asmgen . -kernels half -out ../kern/half_amd64.s -stubs ../kern/half_stub_amd64.go -pkg kern

// Half holds the loops that widen n ≥ 0 numbers of 16 bits to float32, exactly: subnormal numbers, zeros with their sign
// and infinities too. dst and src must not overlap.
type Half struct {
	// Float16 is IEEE 754's binary16. A NaN keeps its sign and fraction and becomes quiet, as processors do it.
	Float16 Widening
	// BFloat16 is the upper half of a float32.
	BFloat16 Widening
}

// Widening is one of the loops of [Half].
type Widening = func(dst *float32, src *uint16, n int)

var genericHalfs = Half{Float16: genericFloat16, BFloat16: genericBFloat16}

func genericFloat16(dst *float32, src *uint16, n int) {
	to := unsafe.Slice(dst, n)
	for i, h := range unsafe.Slice(src, n) {
		to[i] = widened(h)
	}
}

// widened is the float32 of a binary16: a sign, 5 bits of exponent with bias 15, 10 bits of fraction.
func widened(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch {
	case exponent == 0: // zero and subnormal numbers, in units of 2⁻²⁴
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case exponent < 0x1f:
		return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
	case fraction == 0:
		return math.Float32frombits(sign | 0xff<<23)
	}
	return math.Float32frombits(sign | 0xff<<23 | 1<<22 | fraction<<13)
}

func genericBFloat16(dst *float32, src *uint16, n int) {
	to := unsafe.Slice(dst, n)
	for i, h := range unsafe.Slice(src, n) {
		to[i] = math.Float32frombits(uint32(h) << 16)
	}
}
