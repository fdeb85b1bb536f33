package conv

import (
	"math/rand/v2"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// winogradReference allows for the rounding errors of the transforms: with few terms these are most of the error.
func winogradReference(r *rand.Rand, s Spec) *reference {
	s.Kh, s.Kw = 3, 3
	if s.Method == Auto {
		s.Method = Winograd
	}
	f := newReference(r, s)
	for i := range f.terms {
		f.terms[i] = 8*f.terms[i] + 100
	}
	return f
}

func TestWinogradShapes(t *testing.T) {
	list := contexts(t, 1, 2, 8)
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(v ...int) int { return v[r.IntN(len(v))] }
	for range 60 {
		winogradReference(r, Spec{
			Batch: pick(1, 1, 2, 3, 5), H: pick(1, 2, 3, 4, 5, 8, 13), W: pick(1, 2, 4, 5, 6, 9, 16),
			Ci: pick(1, 3, 8, 16, 17, 33), Co: pick(1, 3, 16, 17, 33, 64),
			PadTop: pick(0, 1, 1, 2, 3, -1), PadBottom: pick(0, 1, 2), PadLeft: pick(0, 1, 1, 2, 5, -2), PadRight: pick(0, 1, 2, -1),
		}).run(t, list)
	}
	for _, s := range []Spec{
		{Batch: 2, H: 33, W: 33, Ci: 17, Co: 16, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},
		{Batch: 15, H: 33, W: 30, Ci: 1, Co: 1, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1}, // several blocks of tiles in the kernel's gradient
		{Batch: 1, H: 9, W: 5, Ci: 70, Co: 135, PadBottom: 2, PadLeft: 1, PadRight: 1},            // several groups of channels
		{Batch: 1, H: 2, W: 3, Ci: 512, Co: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1},  // rows at the critical distance
	} {
		winogradReference(r, s).run(t, list)
	}
}

func TestWinogradError(t *testing.T) {
	var native []*kern.Context
	for _, ctx := range contexts(t, 1, 2, 8) {
		if ctx.Name != "generic" {
			native = append(native, ctx)
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		channels int
		bound    [3]float64
	}{{16, [3]float64{1.5e-6, 1.5e-6, 2e-6}}, {64, [3]float64{2e-6, 2e-6, 2e-6}}, {256, [3]float64{3.5e-6, 3.5e-6, 2e-6}}} {
		side := 14
		if c.channels > 64 {
			side = 7
		}
		f := winogradReference(r, Spec{Batch: 2, H: side, W: side, Ci: c.channels, Co: c.channels, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1})
		worst := f.run(t, native)
		t.Logf("%d channels: y %.1e, dx %.1e, dw %.1e", c.channels, worst[0], worst[1], worst[2])
		for i, what := range []string{"y", "dx", "dw"} {
			if worst[i] > c.bound[i] {
				t.Errorf("%d channels: relative rms error of %s is %.1e, expected at most %.1e", c.channels, what, worst[i], c.bound[i])
			}
		}
	}
}

func TestWinogradAllocates(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	f := winogradReference(r, Spec{Batch: 8, H: 14, W: 14, Ci: 32, Co: 64, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1})
	y, dx, dw := make([]float32, len(f.y)), make([]float32, len(f.dx)), make([]float32, len(f.dw))
	for _, ctx := range contexts(t, 2) {
		c, err := Prepare(f.spec)
		if err != nil {
			t.Fatal(err)
		}
		run := func() {
			c.Forward(ctx, y, f.x, f.w, f.bias, f.residual)
			c.InputGrad(ctx, dx, f.dy, f.w)
			c.KernelGrad(ctx, dw, f.x, f.dy)
		}
		run()
		if n := testing.AllocsPerRun(3, run); n > 0 {
			t.Errorf("%s: %v allocations, expected none", ctx.Name, n)
		}
	}
}

// Streamed weights give the same as those that are kept, up to the order of sums: the channels in parts, the tiles in blocks, the last ones not full.
func TestStreamedShapes(t *testing.T) {
	list := contexts(t, 1, 2, 8)
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(v ...int) int { return v[r.IntN(len(v))] }
	for range 40 {
		winogradReference(r, Spec{
			Batch: pick(1, 1, 2, 3), H: pick(1, 2, 4, 5, 8, 13), W: pick(1, 2, 5, 6, 9, 16), Ci: pick(1, 3, 16, 17, 63, 64, 65, 140), Co: pick(1, 3, 16, 33, 127, 129, 150),
			PadTop: pick(0, 1, 1, 2, -1), PadBottom: pick(0, 1, 2), PadLeft: pick(0, 1, 1, 5, -2), PadRight: pick(0, 1, 2, -1), Method: Streamed,
		}).run(t, list)
	}
	for _, s := range []Spec{
		{Batch: 2 * streamTiles, H: 1, W: 1, Ci: 70, Co: 40, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Streamed},
		{Batch: 2*streamTiles + 7, H: 1, W: 2, Ci: 17, Co: 140, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Streamed},
		{Batch: 1, H: 5, W: 3, Ci: 512, Co: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1, Method: Streamed}, // rows at the critical distance
	} {
		winogradReference(r, s).run(t, list)
	}
	// Chosen by the program, with the kernel's gradient as a direct sum.
	f := winogradReference(r, Spec{Batch: 8, H: 4, W: 4, Ci: 368, Co: 360, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1})
	f.spec.Method = Auto
	if method, kernelGrad := fastest(f.spec); method != Streamed || kernelGrad != Direct {
		t.Errorf("methods %v and %v, expected %v and %v", method, kernelGrad, Streamed, Direct)
	}
	f.run(t, list)
}

func TestFastest(t *testing.T) {
	same := Spec{Batch: 64, H: 28, W: 28, Ci: 64, Co: 64, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1}
	of := func(batch, side, ci, co int) func(*Spec) {
		return func(s *Spec) { s.Batch, s.H, s.W, s.Ci, s.Co = batch, side, side, ci, co }
	}
	for _, c := range []struct {
		what               string
		change             func(*Spec)
		method, kernelGrad Method
	}{
		{"3×3", func(*Spec) {}, Winograd, Winograd},
		{"stride 2", func(s *Spec) { s.StrideW = 2 }, Direct, Direct},
		{"dilation 2", func(s *Spec) { s.DilationH = 2 }, Direct, Direct},
		{"5×3", func(s *Spec) { s.Kh = 5 }, Direct, Direct},
		{"3 channels", func(s *Spec) { s.Ci = 3 }, Direct, Direct},
		{"one tile", of(1, 4, 64, 64), Direct, Direct},
		{"256 channels, 7×7", of(64, 7, 256, 256), Winograd, Winograd},
		{"512 channels, 3 tiles", of(3, 4, 512, 512), Direct, Direct},
		{"512 channels, 16 tiles", of(16, 4, 512, 512), Streamed, Direct},
		{"320 channels, 64×64", of(2, 64, 320, 320), Winograd, Winograd},
		{"640 channels, 32×32", of(2, 32, 640, 640), Streamed, Winograd},
		{"1920 channels, 32×32", of(2, 32, 1920, 640), Streamed, Direct},
		{"1280 channels, 8×8", of(2, 8, 1280, 1280), Streamed, Direct},
	} {
		s := same
		c.change(&s)
		if method, kernelGrad := fastest(s); method != c.method || kernelGrad != c.kernelGrad {
			t.Errorf("%s: methods %v and %v, expected %v and %v", c.what, method, kernelGrad, c.method, c.kernelGrad)
		}
	}
}
