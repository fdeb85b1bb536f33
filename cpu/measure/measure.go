// Package measure makes single kernels of the backend available to be timed: on prepared shapes, with arguments and
// results in place, on the default instruction set and all processors. Programs that compute something use package cpu.
package measure

import (
	"github.com/doob-diffusion/doob/cpu/internal/conv"
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

func newContext() (*kern.Context, error) {
	table, err := kern.Default()
	if err != nil {
		return nil, err
	}
	return kern.NewContext(table, pool.New(0)), nil
}

// Parallel returns a function that calls part parts times, on all processors.
func Parallel(parts int, part func()) func() {
	workers := pool.New(0)
	return func() { workers.Run(parts, func(int, int) { part() }) }
}

// Product is a matrix product C [M, N] = A [M, K] · B [K, N]. A is stored as [K, M] if TransA is set, B as [N, K] if
// TransB is.
type Product struct {
	M, N, K        int
	TransA, TransB bool
}

// Prepare returns one computation of the product, of random numbers.
func (p Product) Prepare() (step func(), err error) {
	ctx, err := newContext()
	if err != nil {
		return nil, err
	}
	prepared, err := gemm.Prepare(gemm.Spec{M: p.M, N: p.N, K: p.K, TransA: p.TransA, TransB: p.TransB})
	if err != nil {
		return nil, err
	}
	a, b, c := random(p.M*p.K, 1), random(p.K*p.N, 2), kern.Aligned(p.M*p.N)
	return func() { prepared.Run(ctx, c, a, b, nil, nil) }, nil
}

// Convolution is a convolution of images [Batch, Size, Size, Inputs] with a kernel [Kernel, Kernel, Inputs, Outputs], with
// padding of half the kernel.
type Convolution struct {
	Batch, Size, Inputs, Outputs, Kernel, Stride int
	// Direct computes the sum as it is defined, without Winograd's transforms.
	Direct bool
	// Gradients computes those of images and kernel too.
	Gradients bool
}

// Prepare returns one computation of the convolution, of random numbers.
func (c Convolution) Prepare() (step func(), err error) {
	ctx, err := newContext()
	if err != nil {
		return nil, err
	}
	pad := c.Kernel / 2
	spec := conv.Spec{Batch: c.Batch, H: c.Size, W: c.Size, Ci: c.Inputs, Co: c.Outputs, Kh: c.Kernel, Kw: c.Kernel,
		StrideH: c.Stride, StrideW: c.Stride, PadTop: pad, PadBottom: pad, PadLeft: pad, PadRight: pad}
	if c.Direct {
		spec.Method = conv.Direct
	}
	prepared, err := conv.Prepare(spec)
	if err != nil {
		return nil, err
	}
	h, w := spec.Out()
	images, kernel, results := c.Batch*c.Size*c.Size*c.Inputs, c.Kernel*c.Kernel*c.Inputs*c.Outputs, c.Batch*h*w*c.Outputs
	x, k, dy := random(images, 1), random(kernel, 2), random(results, 3)
	y, dx, dk := kern.Aligned(results), kern.Aligned(images), kern.Aligned(kernel)
	return func() {
		prepared.Forward(ctx, y, x, k, nil, nil)
		if c.Gradients {
			prepared.InputGrad(ctx, dx, dy, k)
			prepared.KernelGrad(ctx, dk, x, dy)
		}
	}, nil
}

// random returns n values in [-1, 1) that depend on the seed only.
func random(n int, seed uint64) []float32 {
	x := kern.Aligned(n)
	for i := range x {
		seed = seed*6364136223846793005 + 1442695040888963407
		x[i] = float32(int32(seed>>32)) * 0x1p-31
	}
	return x
}
