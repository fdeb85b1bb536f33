package conv

import (
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// Conv is a prepared convolution, for one goroutine at a time.
type Conv struct {
	spec       Spec
	outH, outW int
	winograd   *winograd // nil if all is direct
	direct     *direct   // nil if nothing is; beside winograd only the kernel's gradient
}

// Prepare returns the convolution of the given shape. It returns an error if the spec makes no sense.
func Prepare(spec Spec) (*Conv, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	c := &Conv{spec: spec}
	c.outH, c.outW = spec.Out()
	if c.empty() {
		return c, nil
	}
	method, kernelGrad := spec.Method, spec.Method
	if spec.Method == Auto {
		method, kernelGrad = fastest(spec)
	}
	if method != Direct {
		c.winograd = newWinograd(spec, method == Streamed)
	}
	if kernelGrad != Direct {
		return c, nil
	}
	var err error
	c.direct, err = newDirect(spec)
	return c, err
}

// Shared returns the floats of scratch memory that the forward pass or the gradient of the input takes for all workers, whichever is more, with panels
// of nr columns: the kernel packed, or at the 36 points of Winograd's method instead of 9 taps, or the tiles at these points. It is one piece of memory for
// all convolutions of a program; none keeps its own.
func (c *Conv) Shared(nr int) int {
	switch {
	case c.empty():
		return 0
	case c.winograd != nil:
		return max(c.winograd.y.shared(nr), c.winograd.dx.shared(nr))
	case c.direct.y != nil:
		return max(c.direct.y.Shared(nr), c.direct.dx.Shared(nr))
	}
	of := func(passes []pass) (floats int) {
		for _, p := range passes {
			if taps := len(p.taps); len(passes) == 1 && p.c >= narrow && p.spreads(nr) {
				floats += gemm.Panels{K: p.c, N: taps * p.n, NR: nr}.Len() + p.batch*p.h*p.w*taps*p.n
			} else {
				floats += gemm.Panels{K: taps * p.c, N: p.n, NR: nr}.Len()
			}
		}
		return floats
	}
	return max(of(c.direct.forwards), of(c.direct.gradients))
}

// empty reports whether no sum has a term.
func (c *Conv) empty() bool {
	s := &c.spec
	return s.Batch == 0 || s.H*s.W*s.Ci == 0 || c.outH*c.outW*s.Co == 0
}

// Forward computes y = x∗w + bias + residual: y is Batch × OutH × OutW × Co, x is Batch × H × W × Ci, w is Kh × Kw × Ci ×
// Co, bias has Co floats and residual the shape of y. bias and residual may be nil; residual may be y.
func (c *Conv) Forward(ctx *kern.Context, y, x, w, bias, residual []float32) {
	c.ForwardWith(ctx, y, x, kern.Numbers{Single: w}, bias, residual)
}

// ForwardWith is Forward with weights that may have 16 bits. The result is that of the weights widened, bit for bit.
func (c *Conv) ForwardWith(ctx *kern.Context, y, x []float32, w kern.Numbers, bias, residual []float32) {
	switch {
	case c.empty():
		fill(y[:c.spec.Batch*c.outH*c.outW*c.spec.Co], bias, residual)
	case c.winograd != nil:
		c.winograd.forward(ctx, y, x, w, bias, residual)
	default:
		c.direct.forward(ctx, y, x, w, bias, residual)
	}
}

// InputGrad computes dx, the gradient of Σ y·dy with respect to x.
func (c *Conv) InputGrad(ctx *kern.Context, dx, dy, w []float32) {
	c.InputGradWith(ctx, dx, dy, kern.Numbers{Single: w})
}

// InputGradWith is InputGrad with weights that may have 16 bits.
func (c *Conv) InputGradWith(ctx *kern.Context, dx, dy []float32, w kern.Numbers) {
	switch {
	case c.empty():
		clear(dx[:c.spec.Batch*c.spec.H*c.spec.W*c.spec.Ci])
	case c.winograd != nil:
		c.winograd.inputGrad(ctx, dx, dy, w)
	default:
		c.direct.inputGrad(ctx, dx, dy, w)
	}
}

// KernelGrad computes dw, the gradient of Σ y·dy with respect to w.
func (c *Conv) KernelGrad(ctx *kern.Context, dw, x, dy []float32) {
	switch {
	case c.empty():
		clear(dw[:c.spec.Kh*c.spec.Kw*c.spec.Ci*c.spec.Co])
	case c.direct != nil:
		c.direct.kernelGrad(ctx, dw, x, dy)
	default:
		c.winograd.kernelGrad(ctx, dw, x, dy)
	}
}

// fill sets y to what a sum without terms leaves.
func fill(y, bias, residual []float32) {
	for i := range y {
		v := float32(0)
		if bias != nil {
			v = bias[i%len(bias)]
		}
		if residual != nil {
			v += residual[i]
		}
		y[i] = v
	}
}
