package exec

import (
	"fmt"

	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// lookup binds a [plan.Lookup].
func (i *Instance) lookup(op *plan.Lookup, s *plan.Step) (func() error, error) {
	switch size := s.Out[0].DType.Size(); size {
	case 1:
		return rows[uint8](i, op, s), nil
	case 2:
		return rows[uint16](i, op, s), nil
	case 4:
		return rows[uint32](i, op, s), nil
	case 8:
		return rows[uint64](i, op, s), nil
	case 16:
		return rows[[2]uint64](i, op, s), nil
	default:
		return nil, fmt.Errorf("elements of %d bytes", size)
	}
}

// rows copies rows of a table of elements of the size of T.
func rows[T any](i *Instance, op *plan.Lookup, s *plan.Step) func() error {
	table, numbers, out := i.slot(s.In[0]), i.slot(s.In[1]), i.slot(s.Out[0])
	return func() error {
		from, to := elements[T](i.memory[table]), elements[T](i.memory[out])
		for k, row := range i.memory[numbers].Flat.([]int32) {
			at := min(max(int(row), 0), op.Rows-1) // as XLA takes numbers that are none of a row
			copy(to[k*op.Width:][:op.Width], from[at*op.Width:])
		}
		return nil
	}
}
