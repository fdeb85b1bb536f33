package checkpoint

import (
	"errors"
	"math"
	"slices"
	"testing"
)

// format is a binary floating-point format of 16 bits, to say in float64 what its numbers are.
type format struct {
	name           string
	fraction, bias int
	float32        func(uint16) float32
	round          func(float32) uint16
}

var formats = []format{
	{"F16", 10, 15, func(h uint16) float32 { return Float16(h).Float32() }, func(x float32) uint16 { return uint16(ToFloat16(x)) }},
	{"BF16", 7, 127, func(h uint16) float32 { return BFloat16(h).Float32() }, func(x float32) uint16 { return uint16(ToBFloat16(x)) }},
}

// value returns what IEEE 754 says of h, §3.4, where infinity counts as 2^(bias+1); nan is true for those above it.
func (f format) value(h uint16) (v float64, nan bool) {
	exponent, fraction := int(h&0x7fff)>>f.fraction, float64(h&(1<<f.fraction-1))
	one := math.Ldexp(1, f.fraction)
	if exponent == 0 {
		v = math.Ldexp(fraction/one, 1-f.bias)
	} else {
		v = math.Ldexp(1+fraction/one, exponent-f.bias)
	}
	return math.Copysign(v, 0.5-float64(h>>15)), exponent == 2*f.bias+1 && fraction > 0
}

func TestHalvesToFloat32(t *testing.T) {
	for _, f := range formats {
		top := math.Ldexp(1, f.bias+1)
		for h := range 1 << 16 {
			h := uint16(h)
			got := f.float32(h)
			want, nan := f.value(h)
			switch bits := math.Float32bits(got); {
			case nan:
				if got == got || bits>>31 != uint32(h>>15) || bits<<9 != uint32(h)<<(32-f.fraction) {
					t.Fatalf("%s %#04x: got bits %#08x, want a NaN of its sign and fraction", f.name, h, bits)
				}
			case math.Abs(want) == top:
				if !math.IsInf(float64(got), 1-2*int(h>>15)) {
					t.Fatalf("%s %#04x: got %v, want infinity with the sign of %v", f.name, h, got, want)
				}
			case float64(got) != want || math.Signbit(float64(got)) != math.Signbit(want):
				t.Fatalf("%s %#04x: got %v, want %v", f.name, h, got, want)
			}
			if back := f.round(got); back != h { // signalling NaN too
				t.Fatalf("%s %#04x: got %#04x back from %v", f.name, h, back, got)
			}
		}
	}
}

// Rounding is monotonic, so it is right everywhere if it is right around the middle of every two neighbours: there it
// goes to the even one, and next to it to the nearer. The last neighbour is infinity.
func TestRoundToHalves(t *testing.T) {
	for _, f := range formats {
		infinity := uint16(2*f.bias+1) << f.fraction
		for low := range infinity {
			a, _ := f.value(low)
			b, _ := f.value(low + 1)
			middle := float32((a + b) / 2)
			if float64(middle) != (a+b)/2 {
				t.Fatalf("%s %#04x: the middle %v of %v and %v is no float32", f.name, low, (a+b)/2, a, b)
			}
			for x, want := range map[float32]uint16{
				middle:                      low + low&1,
				math.Nextafter32(middle, 0): low,
				math.Nextafter32(middle, float32(math.Inf(1))): low + 1,
			} {
				if got := f.round(x); got != want {
					t.Fatalf("%s of %v: got %#04x, want %#04x", f.name, x, got, want)
				}
				if got := f.round(-x); got != want|0x8000 {
					t.Fatalf("%s of %v: got %#04x, want %#04x", f.name, -x, got, want|0x8000)
				}
			}
		}
		for _, nan := range []uint32{0x7f800001, 0xff800001, 0x7fffffff} { // what is left of a fraction may be nothing
			x := math.Float32frombits(nan)
			if got := f.round(x); f.float32(got) == f.float32(got) || got>>15 != uint16(nan>>31) {
				t.Errorf("%s of NaN %#08x: got %#04x", f.name, nan, got)
			}
		}
		for _, x := range []float64{math.Inf(1), math.MaxFloat32} {
			if got := f.round(float32(x)); got != infinity {
				t.Errorf("%s of %v: got %#04x, want infinity", f.name, x, got)
			}
		}
	}
}

// Numbers that are known without a formula: https://en.wikipedia.org/wiki/Half-precision_floating-point_format#Precision_limitations
func TestKnownHalves(t *testing.T) {
	for h, want := range map[Float16]float32{
		0x0001: 0x1p-24, 0x03ff: 0.000060975552, 0x0400: 0x1p-14, 0x3555: 0.33325195, 0x3bff: 0.99951172,
		0x3c00: 1, 0x3c01: 1.00097656, 0x7bff: 65504, 0xc000: -2,
	} {
		if got := h.Float32(); got != want {
			t.Errorf("%#04x: got %v, want %v", uint16(h), got, want)
		}
	}
	if got, want := ToBFloat16(math.Pi), BFloat16(0x4049); got != want {
		t.Errorf("π: got %#04x, want %#04x", got, want)
	}
}

func TestFloat32s(t *testing.T) {
	want := []float32{1, -2.5}
	for _, x := range []Tensor{
		{F16: []Float16{0x3c00, 0xc100}}, {BF16: []BFloat16{0x3f80, 0xc020}}, {F32: want}, {F64: []float64{1, -2.5}},
	} {
		got, err := x.Float32s()
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v; err = %v", x.DType(), got, want, err)
		}
	}
	if got, err := (Tensor{Shape: []int{0}}).Float32s(); err != nil || len(got) != 0 {
		t.Errorf("no elements: got %v; err = %v", got, err)
	}
	if _, err := (Tensor{I64: []int64{1}}).Float32s(); !errors.Is(err, ErrDType) {
		t.Errorf("I64: err = %v, want ErrDType", err)
	}
}
