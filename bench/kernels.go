package bench

import (
	"errors"

	"github.com/doob-diffusion/doob/cpu"
	"github.com/doob-diffusion/doob/cpu/measure"
)

// ErrNotTimed says that this build cannot do a work.
var ErrNotTimed = errors.New("bench: this work cannot be timed here")

// peak is Peak.Flop operations of nothing but FMAs on registers, on all processors: the speed limit of the others.
func peak(string, map[string]int) (func() error, error) {
	isa, err := cpu.InstructionSet()
	if err != nil {
		return nil, err
	}
	loop, flop := fma(isa)
	if loop == nil {
		return nil, ErrNotTimed
	}
	const part = 5e6 // operations: some 20 µs, because assembly cannot be preempted
	rounds, parts := int(part)/flop, int(Peak.Flop/part)
	return unfailing(measure.Parallel(parts, func() { loop(rounds) }), nil)
}

// product is C [m,n] = A [m,k] · B [k,n], A and B stored transposed where the arguments say so.
func product(_ string, args map[string]int) (func() error, error) {
	return unfailing(measure.Product{M: args["m"], N: args["n"], K: args["k"],
		TransA: args["trans_a"] != 0, TransB: args["trans_b"] != 0}.Prepare())
}

// convolution is y = x∗w with padding of half the kernel, and with gradients set those for x and w too.
func convolution(_ string, args map[string]int) (func() error, error) {
	return unfailing(measure.Convolution{Batch: args["batch"], Size: args["size"], Inputs: args["inputs"], Outputs: args["outputs"],
		Kernel: args["kernel"], Stride: args["stride"], Direct: args["direct"] != 0, Gradients: args["gradients"] != 0}.Prepare())
}

// unfailing gives a step that cannot fail the signature of those that can.
func unfailing(run func(), err error) (func() error, error) {
	if err != nil {
		return nil, err
	}
	return func() error {
		run()
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
