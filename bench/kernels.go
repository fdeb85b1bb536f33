package bench

import (
	"errors"

	"github.com/doob-diffusion/doob/cpu/conv"
	"github.com/doob-diffusion/doob/cpu/gemm"
	"github.com/doob-diffusion/doob/cpu/kern"
	"github.com/doob-diffusion/doob/cpu/pool"
)

// ErrNotTimed says that this build cannot do a work.
var ErrNotTimed = errors.New("bench: this work cannot be timed here")

// newContext returns what the drivers of package cpu run with: the default instruction set on all processors.
func newContext() (*kern.Context, error) {
	table, err := kern.Default()
	if err != nil {
		return nil, err
	}
	return kern.NewContext(table, pool.New(0)), nil
}

// peak is Peak.Flop operations of nothing but FMAs on registers, on all processors: the speed limit of the others.
func peak(string, map[string]int) (func() error, error) {
	ctx, err := newContext()
	if err != nil {
		return nil, err
	}
	loop, flop := fma(ctx.Name)
	if loop == nil {
		return nil, ErrNotTimed
	}
	const part = 5e6 // operations: some 20 µs, because assembly cannot be preempted
	rounds, parts := int(part)/flop, int(Peak.Flop/part)
	return func() error {
		ctx.Pool.Run(parts, func(int, int) { loop(rounds) })
		return nil
	}, nil
}

// product is C [m,n] = A [m,k] · B [k,n], A and B stored transposed where the arguments say so.
func product(_ string, args map[string]int) (func() error, error) {
	ctx, err := newContext()
	if err != nil {
		return nil, err
	}
	m, n, k := args["m"], args["n"], args["k"]
	p, err := gemm.Prepare(gemm.Spec{M: m, N: n, K: k, TransA: args["trans_a"] != 0, TransB: args["trans_b"] != 0})
	if err != nil {
		return nil, err
	}
	a, b, c := random(kern.Aligned(m*k), 1), random(kern.Aligned(k*n), 2), kern.Aligned(m*n)
	return func() error {
		p.Run(ctx, c, a, b, nil, nil)
		return nil
	}, nil
}

// convolution is y = x∗w with padding of half the kernel, as chosen by method, and with gradients set those for x and w too.
func convolution(_ string, args map[string]int) (func() error, error) {
	ctx, err := newContext()
	if err != nil {
		return nil, err
	}
	pad := args["kernel"] / 2
	spec := conv.Spec{Batch: args["batch"], H: args["size"], W: args["size"], Ci: args["inputs"], Co: args["outputs"],
		Kh: args["kernel"], Kw: args["kernel"], StrideH: args["stride"], StrideW: args["stride"],
		PadTop: pad, PadBottom: pad, PadLeft: pad, PadRight: pad, Method: conv.Method(args["method"])}
	c, err := conv.Prepare(spec)
	if err != nil {
		return nil, err
	}
	h, w := spec.Out()
	images, kernel, results := spec.Batch*spec.H*spec.W*spec.Ci, spec.Kh*spec.Kw*spec.Ci*spec.Co, spec.Batch*h*w*spec.Co
	x, k, dy := random(kern.Aligned(images), 1), random(kern.Aligned(kernel), 2), random(kern.Aligned(results), 3)
	y, dx, dk := kern.Aligned(results), kern.Aligned(images), kern.Aligned(kernel)
	return func() error {
		c.Forward(ctx, y, x, k, nil, nil)
		if args["gradients"] != 0 {
			c.InputGrad(ctx, dx, dy, k)
			c.KernelGrad(ctx, dk, x, dy)
		}
		return nil
	}, nil
}

// random fills x with values in [-1, 1) that depend on the seed only.
func random(x []float32, seed uint64) []float32 {
	for i := range x {
		seed = seed*6364136223846793005 + 1442695040888963407
		x[i] = float32(int32(seed>>32)) * 0x1p-31
	}
	return x
}
