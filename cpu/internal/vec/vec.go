// Package vec runs the layers that are no matrix products: group and layer normalisation, GEGLU, softmax, reductions, permutations,
// resampling and the optimiser, on float32 arrays in row-major order.
//
// Each is prepared once for a shape and then run with a [kern.Context]. A prepared value is used by one goroutine at a
// time; its runs allocate nothing. The results are the same for any number of workers: how the work is divided and in
// which order values are added depends on the shape only.
package vec

import (
	"fmt"
	"unsafe"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

const (
	// grain is the number of values of a part: some microseconds of work, more than it costs to hand it out.
	grain = 1 << 14
	// call is the most values that one call of a kernel gets. It returns within some 20 µs: assembly cannot be interrupted.
	call = 1 << 15
)

// run runs the parts, by the caller alone if there are few values.
func run(ctx *kern.Context, parts, values int, part func(part, worker int)) {
	if values > grain {
		ctx.Pool.Run(parts, part)
		return
	}
	for i := range parts {
		part(i, 0)
	}
}

// ceil is a/b rounded up.
func ceil(a, b int) int { return (a + b - 1) / b }

// span is part i of n values in parts of the given size.
func span(i, size, n int) (from, to int) { return i * size, min((i+1)*size, n) }

// check panics if an operand does not have as many values as the prepared shape says: a fault of the caller.
func check(what string, operand []float32, size int) {
	if len(operand) != size {
		panic(fmt.Sprintf("vec: %s has %d values, expected %d", what, len(operand), size))
	}
}

// doubles is the memory of float32 values, aligned to 8 bytes, as half as many float64 values.
func doubles(area []float32) []float64 {
	return unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(area))), len(area)/2)
}
