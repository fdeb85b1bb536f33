package noise

import (
	"math"
	"testing"
)

// Known answers of the reference implementation (Random123, kat_vectors).
func TestPhiloxKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		key  Key
		in   [4]uint32
		want [4]uint32
	}{
		{Key{}, [4]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{Key{0xffffffff, 0xffffffff}, [4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{Key{0xa4093822, 0x299f31d0}, [4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := philox(c.key, c.in); got != c.want {
			t.Errorf("philox(%x, %x) = %x, want %x", c.key, c.in, got, c.want)
		}
	}
}

func TestNormalMoments(t *testing.T) {
	const n, dim = 40_000, 5 // 200,000 draws: the mean has standard error 0.0022, the variance 0.0032
	k := New(1).Sub("moments")
	z := make([]float32, dim)
	var m1, m2, m3, m4, cross, prev float64
	for p := range uint64(n) {
		k.Normal(z, p, 3)
		for _, v := range z {
			x := float64(v)
			m1, m2, m3, m4 = m1+x, m2+x*x, m3+x*x*x, m4+x*x*x*x
			cross += x * prev
			prev = x
		}
	}
	for _, c := range []struct {
		name            string
		got, want, band float64
	}{
		{"mean", m1, 0, 0.009}, {"variance", m2, 1, 0.013}, {"skewness", m3, 0, 0.035}, {"fourth moment", m4, 3, 0.09},
		{"correlation of neighbours", cross, 0, 0.009},
	} {
		if got := c.got / (n * dim); math.Abs(got-c.want) > c.band {
			t.Errorf("%s = %.4f, want %g ± %g", c.name, got, c.want, c.band)
		}
	}
}

func TestNormalDependsOnlyOnItsCounter(t *testing.T) {
	k := New(7).Sub("paths")
	long, short := make([]float32, 9), make([]float32, 4)
	k.Normal(long, 12, 5)
	k.Normal(short, 12, 5)
	for i := range short {
		if long[i] != short[i] {
			t.Fatalf("draw %d of path 12, step 5 is %g alone and %g in a longer vector", i, short[i], long[i])
		}
	}
	seen := map[float32]string{}
	for name, draw := range map[string]func(){
		"path": func() { k.Normal(short, 13, 5) }, "high path": func() { k.Normal(short, 12|1<<32, 5) },
		"step": func() { k.Normal(short, 12, 6) }, "seed": func() { New(8).Sub("paths").Normal(short, 12, 5) },
		"purpose": func() { New(7).Sub("path").Normal(short, 12, 5) }, "number": func() { k.At(0).Normal(short, 12, 5) },
		"next number": func() { k.At(1).Normal(short, 12, 5) }, "same": func() { k.Normal(short, 12, 5) },
	} {
		draw()
		if other, ok := seen[short[0]]; ok {
			t.Errorf("changing the %s gives the same draw as changing the %s", name, other)
		}
		seen[short[0]] = name
	}
}

func TestUniformStaysInside(t *testing.T) {
	k := New(3)
	var sum float64
	const n = 100_000
	for p := range uint64(n) {
		u := k.Uniform(p, 0)
		if u <= 0 || u >= 1 {
			t.Fatalf("uniform draw %g is outside (0,1)", u)
		}
		sum += u
	}
	if mean := sum / n; math.Abs(mean-0.5) > 4*math.Sqrt(1.0/12/n) {
		t.Errorf("mean of uniforms is %g", mean)
	}
}

func TestRandRepeats(t *testing.T) {
	if a, b := New(5).Rand().Uint64(), New(5).Rand().Uint64(); a != b {
		t.Errorf("the same key gave %x and %x", a, b)
	}
	if New(5).Rand().Uint64() == New(6).Rand().Uint64() {
		t.Error("two seeds gave the same stream")
	}
}

func BenchmarkNormal(b *testing.B) {
	z := make([]float32, 784)
	b.SetBytes(4 * 784)
	for i := range b.N {
		New(1).Normal(z, uint64(i), 0)
	}
}

// A key that was written down is the same key.
func TestKeyAsText(t *testing.T) {
	for _, want := range []Key{{}, New(7).Sub("samples").At(3)} {
		text, err := want.MarshalText()
		var got Key
		if err == nil {
			err = got.UnmarshalText(text)
		}
		if err != nil || got != want {
			t.Errorf("%s: got %v (%v), want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "12", "0123456789abcdeg", "-123456789abcdef", "0123456789abcdef0"} {
		if err := new(Key).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a key", text)
		}
	}
}
