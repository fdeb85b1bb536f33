package checkpoint

import "math"

// Float16 is the bits of an IEEE 754 binary16 number: sign, 5 bits of exponent with bias 15, 10 bits of fraction.
type Float16 uint16

// BFloat16 is the upper half of the bits of a float32: sign, 8 bits of exponent, 7 bits of fraction.
type BFloat16 uint16

// Float32 returns the number, exactly. Of a NaN, sign and fraction stay.
func (h Float16) Float32() float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0: // zero and subnormal numbers, in units of 2⁻²⁴
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 0x1f: // infinity and NaN
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// Float32 returns the number, exactly. Of a NaN, sign and fraction stay.
func (b BFloat16) Float32() float32 { return math.Float32frombits(uint32(b) << 16) }

// ToFloat16 rounds x to nearest, ties to even; from 65520 on that is infinity. A NaN keeps its sign and what fits of its
// fraction.
func ToFloat16(x float32) Float16 {
	const (
		infinity = 0xff << 23
		overflow = 0x477ff000 // 65520, midway between the largest number, 65504, and 2¹⁶
		normal   = 0x38800000 // 2⁻¹⁴
	)
	b := math.Float32bits(x)
	sign := Float16(b >> 16 & 0x8000)
	b &= 1<<31 - 1
	switch {
	case b > infinity:
		return sign | 0x7c00 | fractionOfNaN(b>>13&0x3ff, 0x200)
	case b >= overflow:
		return sign | 0x7c00
	case b < normal:
		// Floats from 1/2 to 1 are 2⁻²⁴ apart, as subnormal numbers are: the addition rounds.
		return sign | Float16(math.Float32bits(math.Float32frombits(b)+0.5)-math.Float32bits(0.5))
	}
	b += 0xfff + b>>13&1 // up, if the rest is more than half, or half and the last bit kept is odd
	return sign | Float16(b>>13-(127-15)<<10)
}

// ToBFloat16 rounds x to nearest, ties to even. A NaN keeps its sign and what fits of its fraction.
func ToBFloat16(x float32) BFloat16 {
	b := math.Float32bits(x)
	if x != x {
		return BFloat16(b>>16&0xff80) | BFloat16(fractionOfNaN(b>>16&0x7f, 0x40))
	}
	return BFloat16((b + 0x7fff + b>>16&1) >> 16)
}

// fractionOfNaN returns the bits that are left of a NaN's fraction, or quiet if none is, which would make it infinity.
func fractionOfNaN(left uint32, quiet Float16) Float16 {
	if left == 0 {
		return quiet
	}
	return Float16(left)
}
