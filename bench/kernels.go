package bench

import (
	"errors"
	"runtime"
	"sync/atomic"

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

// exchange lets two threads, each on a processor of its own, answer each other through one cache line. Processors that share a cache take some 100 ns to
// do so, others several times as long, and a virtual machine may be moved from the one state to the other.
func exchange(string, map[string]int) (func() error, error) {
	if runtime.GOMAXPROCS(0) < 2 {
		return nil, ErrNotTimed
	}
	return func() error {
		var ball struct {
			_    [64]byte
			trip atomic.Int64
			_    [56]byte
		}
		back := make(chan struct{})
		go func() {
			defer close(back)
			for n := range int64(ExchangeTrips) {
				await(&ball.trip, 2*n+1)
				ball.trip.Store(2*n + 2)
			}
		}()
		for n := range int64(ExchangeTrips) {
			ball.trip.Store(2*n + 1)
			await(&ball.trip, 2*n+2)
		}
		<-back
		return nil
	}, nil
}

// await returns when v is n. It lets others run now and then: nobody says that the other side has a processor.
func await(v *atomic.Int64, n int64) {
	for turn := 1; v.Load() != n; turn++ {
		if turn%4096 == 0 {
			runtime.Gosched()
		}
	}
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
