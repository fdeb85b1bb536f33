package engine

import (
	"fmt"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// backendKey is where an engine's parameters say on which backend they are.
const backendKey = "/doob_backend"

// Frozen creates a variable that is not trained. Its memory is the backend's where that shares memory with Go, so that
// there is never a second copy. Numbers gets it to write it: a []float32, or a []uint16 that holds the bits of F16 or BF16.
func Frozen(scope *model.Scope, name string, p Precision, dims []int, numbers func(flat any) error) error {
	dtype := p.DType()
	if dtype == dtypes.InvalidDType {
		return fmt.Errorf("engine: variable %s: precision %q, expected f32, f16 or bf16", name, string(p))
	}
	var backend compute.Backend
	if b, ok := scope.Store().GetParam(backendKey); ok {
		backend, _ = b.(compute.Backend)
	}
	t, err := tensors.FromShapeForBackend(backend, 0, shapes.Make(dtype, dims...))
	if err != nil {
		return fmt.Errorf("engine: variable %s: %w", name, err)
	}
	var failed error
	if err := t.MutableFlatData(func(flat any) {
		if p != F32 {
			flat = bitsOf(flat)
		}
		failed = numbers(flat)
	}); err != nil || failed != nil {
		_ = t.FinalizeAll() // nobody has seen it
		if failed != nil {
			return failed
		}
		return fmt.Errorf("engine: variable %s: %w", name, err)
	}
	v, err := scope.CreateVariable(name, t)
	if err != nil {
		return err
	}
	v.SetTrainable(false)
	return nil
}

// bitsOf sees a flat slice of numbers of 16 bits as their bits.
func bitsOf(flat any) []uint16 {
	switch x := flat.(type) {
	case []float16.Float16:
		return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
	case []bfloat16.BFloat16:
		return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
	}
	panic(fmt.Errorf("engine: %T are no numbers of 16 bits", flat))
}
