package conv

import (
	"math/rand/v2"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// winogradReference allows for the rounding errors of the transforms: with few terms these are most of the error.
func winogradReference(r *rand.Rand, s Spec) *reference {
	s.Method, s.Kh, s.Kw = Winograd, 3, 3
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

func TestWinogradPays(t *testing.T) {
	same := Spec{Batch: 64, H: 28, W: 28, Ci: 64, Co: 64, Kh: 3, Kw: 3, PadTop: 1, PadBottom: 1, PadLeft: 1, PadRight: 1}
	for _, c := range []struct {
		what   string
		change func(*Spec)
		want   bool
	}{
		{"3×3", func(*Spec) {}, true},
		{"stride 2", func(s *Spec) { s.StrideW = 2 }, false},
		{"dilation 2", func(s *Spec) { s.DilationH = 2 }, false},
		{"5×3", func(s *Spec) { s.Kh = 5 }, false},
		{"3 channels", func(s *Spec) { s.Ci = 3 }, false},
		{"one tile", func(s *Spec) { s.Batch, s.H, s.W = 1, 4, 4 }, false},
		{"512 channels, 16 tiles", func(s *Spec) { s.Batch, s.H, s.W, s.Ci, s.Co = 16, 4, 4, 512, 512 }, false},
		{"256 channels, 7×7", func(s *Spec) { s.H, s.W, s.Ci, s.Co = 7, 7, 256, 256 }, true},
	} {
		s := same
		c.change(&s)
		if got := winogradPays(s); got != c.want {
			t.Errorf("%s: winogradPays is %v, expected %v", c.what, got, c.want)
		}
	}
}
