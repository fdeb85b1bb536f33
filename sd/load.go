package sd

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
)

// Load reads tensors into variables of a scope, which are not trained: those whose names want agrees to, all for nil. Linear maps, convolutions and
// tables are held in w.Precision, vectors in F32. It holds one tensor at a time besides the variables. An error gives the name of the tensor; what was
// read before it stays.
func (w *Weights) Load(scope *model.Scope, want func(name string) bool) (Modules, error) {
	const often = 128 << 20 // bytes: the collector by itself waits until there is as much to collect as there is in use
	if err := w.Precision.Check(); err != nil {
		return Modules{}, err
	}
	read, collected := 0, false // what was read since the last collection, in bytes
	for _, name := range w.Names() {
		if want != nil && !want(name) {
			continue
		}
		t, err := w.Tensor(name)
		if err != nil {
			return Modules{}, err
		}
		if err := hold(scope, name, t, w.Precision); err != nil {
			return Modules{}, fmt.Errorf("tensor %s: %w", name, err)
		}
		if read += garbage(t, w.Precision); read > often {
			read, collected = 0, true
			runtime.GC()
		}
	}
	if collected { // for what comes next, the memory of a step
		runtime.GC()
	}
	return Modules{Scope: scope}, nil
}

// garbage returns the bytes that reading a tensor leaves behind: what was read, and a copy or two where the precision changes.
func garbage(t checkpoint.Tensor, p engine.Precision) int {
	info := checkpoint.Info{DType: t.DType(), Shape: t.Shape}
	switch own, p := held(info, engine.OfFile), held(info, p); {
	case own == engine.F32 && p == engine.F32:
		return 4 * t.Size()
	case own == p:
		return 2 * t.Size()
	}
	return 8 * t.Size()
}

// Declare makes the variables that Load makes, without their values: a program that uses them can be planned, see [engine.Engine.Memory], and not be run.
func (w *Weights) Declare(scope *model.Scope, want func(name string) bool) (Modules, error) {
	if err := w.Precision.Check(); err != nil {
		return Modules{}, err
	}
	for _, name := range w.Names() {
		if want != nil && !want(name) {
			continue
		}
		info, _ := w.source.Info(w.files[name])
		dtype := held(info, w.Precision).DType()
		dims, _, _ := arranged(info.Shape)
		scope.VariableWithShape(name, shapes.Make(dtype, dims...)).SetTrainable(false)
	}
	return Modules{Scope: scope}, nil
}

// hold makes a variable of a tensor, in the layout that networks are computed in. Convolutions [out, in, rows, columns] become [rows, columns, in, out],
// those of kernel 1×1 linear maps [out, in]; all else stays as it is.
func hold(scope *model.Scope, name string, t checkpoint.Tensor, p engine.Precision) error {
	dims, out, kernel := arranged(t.Shape)
	p = held(checkpoint.Info{DType: t.DType(), Shape: t.Shape}, p)
	return engine.Frozen(scope, name, p, dims, func(flat any) error {
		switch to := flat.(type) {
		case []uint16:
			bits, err := halves(t, p)
			if err != nil {
				return err
			}
			arrange(to, bits, out, kernel)
		case []float32:
			values, err := t.Float32s()
			if err != nil {
				return err
			}
			arrange(to, values, out, kernel)
		}
		return nil
	})
}

// arranged returns the dimensions of a variable by those of its tensor, and for [arrange] the outputs and the size of the kernel, 1 if there is none.
func arranged(shape []int) (dims []int, out, kernel int) {
	if len(shape) != 4 {
		return shape, 0, 1
	}
	out, in, kernel := shape[0], shape[1], shape[2]*shape[3]
	if kernel == 1 {
		return []int{out, in}, out, 1
	}
	return []int{shape[2], shape[3], in, out}, out, kernel
}

// held returns the precision of a tensor, where none is asked for that of the file.
func held(t checkpoint.Info, p engine.Precision) engine.Precision {
	switch {
	case len(t.Shape) < 2:
		return engine.F32
	case p != engine.OfFile:
		return p
	case t.DType == checkpoint.F16:
		return engine.F16
	case t.DType == checkpoint.BF16:
		return engine.BF16
	}
	return engine.F32
}

// halves returns the bits of numbers in a precision of 16 bits, rounded to nearest where they have more. A number too large for it gives ErrWeights.
func halves(t checkpoint.Tensor, p engine.Precision) ([]uint16, error) {
	switch {
	case p == engine.F16 && t.F16 != nil:
		return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(t.F16))), len(t.F16)), nil
	case p == engine.BF16 && t.BF16 != nil:
		return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(t.BF16))), len(t.BF16)), nil
	}
	values, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	out := make([]uint16, len(values))
	for i, v := range values {
		infinite := false
		if p == engine.F16 {
			h := checkpoint.ToFloat16(v)
			out[i], infinite = uint16(h), h&0x7c00 == 0x7c00
		} else {
			h := checkpoint.ToBFloat16(v)
			out[i], infinite = uint16(h), h&0x7f80 == 0x7f80
		}
		if infinite {
			return nil, fmt.Errorf("%w: number %d is %g, which precision %s cannot hold: take bf16 or f32", ErrWeights, i+1, v, p)
		}
	}
	return out, nil
}

// arrange copies numbers. Those of a convolution [out, in, kernel] become [kernel, in, out], a block at a time: either order alone would miss the cache
// with every number.
func arrange[T any](to, from []T, out, kernel int) {
	if kernel == 1 {
		copy(to, from)
		return
	}
	const block = 32
	row := len(from) / max(out, 1) // in·kernel
	in := row / kernel
	for o := 0; o < out; o += block {
		for first := 0; first < row; first += 2 * block {
			for c := first; c < min(first+2*block, row); c++ {
				i, k := c/kernel, c%kernel
				column := to[(k*in+i)*out:][:out]
				for p := o; p < min(o+block, out); p++ {
					column[p] = from[p*row+c]
				}
			}
		}
	}
}
