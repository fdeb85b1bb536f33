package exec

import (
	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// numbers returns what finds the memory of a value of float32 or 16 bits.
func (i *Instance) numbers(v *plan.Value) func() kern.Numbers {
	slot, dtype := i.slot(v), v.DType
	if dtype == dtypes.Float32 {
		return func() kern.Numbers { return kern.Numbers{Single: i.memory[slot].F32} }
	}
	return func() kern.Numbers {
		return kern.Numbers{Half: elements[uint16](i.memory[slot]), Brain: dtype == dtypes.BFloat16}
	}
}

// widen binds a [plan.Widen].
func (i *Instance) widen(s *plan.Step) (func() error, error) {
	const grain = 1 << 14 // numbers
	from, out := i.numbers(s.In[0]), i.slot(s.Out[0])
	var src kern.Numbers
	var dst []float32
	part := func(part, _ int) {
		first := part * grain
		i.ctx.Widen(dst[first:min(first+grain, len(dst))], src.From(first))
	}
	return func() error {
		src, dst = from(), i.memory[out].F32
		i.ctx.Pool.Run((len(dst)+grain-1)/grain, part)
		src, dst = kern.Numbers{}, nil
		return nil
	}, nil
}
