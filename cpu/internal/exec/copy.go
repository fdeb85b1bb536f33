package exec

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/doob-diffusion/doob/cpu/internal/plan"
	"github.com/doob-diffusion/doob/cpu/internal/vec"
)

// copyFlat copies between flat slices of one type.
func copyFlat(dst, src any) {
	if d, ok := dst.([]float32); ok {
		copy(d, src.([]float32))
		return
	}
	reflect.Copy(reflect.ValueOf(dst), reflect.ValueOf(src))
}

// copy binds a [plan.Copy].
func (i *Instance) copy(op *plan.Copy, s *plan.Step) (func() error, error) {
	if run, err := i.permute(op, s); run != nil || err != nil {
		return run, err
	}
	switch size := s.Out[0].DType.Size(); size {
	case 1:
		return copier[uint8](i, op, s), nil
	case 2:
		return copier[uint16](i, op, s), nil
	case 4:
		return copier[uint32](i, op, s), nil
	case 8:
		return copier[uint64](i, op, s), nil
	case 16:
		return copier[[2]uint64](i, op, s), nil
	default:
		return nil, fmt.Errorf("elements of %d bytes", size)
	}
}

// permute binds a copy that only reorders the axes of a dense float32 tensor, or returns nil.
func (i *Instance) permute(op *plan.Copy, s *plan.Step) (func() error, error) {
	if op.Fill != nil || len(op.Regions) != 1 || i.memoryIsNot32(s) {
		return nil, nil
	}
	r := op.Regions[0]
	dims, strides := plan.Collapse(r.From.Dims, r.From.Strides, r.To)
	if r.From.Offset != 0 || r.ToOffset != 0 || len(dims) < 2 || !plan.Dense(dims, strides[1]) || s.Out[0].Size() != s.In[0].Size() {
		return nil, nil
	}
	// The source's axes from the slowest to the fastest are those with falling strides.
	perm := make([]int, len(dims)) // axis k of the result is axis perm[k] of the source
	source := make([]int, len(dims))
	for k, stride := range strides[0] {
		for j, other := range strides[0] {
			if other > stride || other == stride && j < k {
				perm[k]++
			}
		}
		source[perm[k]] = dims[k]
	}
	sorted := make([]int, len(dims))
	for k, stride := range strides[0] {
		sorted[perm[k]] = stride
	}
	if !plan.Dense(source, sorted) {
		return nil, nil
	}
	p, err := vec.PreparePermute(source, perm)
	if err != nil {
		return nil, err
	}
	out, in := i.slot(s.Out[0]), i.slot(s.In[0])
	return func() error {
		p.Run(i.ctx, i.memory[out].F32, i.memory[in].F32)
		return nil
	}, nil
}

func (i *Instance) memoryIsNot32(s *plan.Step) bool {
	return s.Out[0].DType.GoStr() != "float32"
}

// elements sees the memory of any type as elements of the same size without a type.
func elements[T any](m Memory) []T {
	v := reflect.ValueOf(m.Flat)
	return unsafe.Slice((*T)(v.UnsafePointer()), v.Len())
}

// copier copies element by element, or run by run where both sides are contiguous.
func copier[T any](i *Instance, op *plan.Copy, s *plan.Step) func() error {
	type region struct {
		slot, from, to int
		dims           []int
		src, dst       []int
	}
	var regions []region
	for _, r := range op.Regions {
		dims, strides := plan.Collapse(r.From.Dims, r.From.Strides, r.To)
		empty := false
		for _, d := range r.From.Dims {
			empty = empty || d == 0
		}
		if empty {
			continue
		}
		if len(dims) == 0 {
			dims, strides = []int{1}, [][]int{{1}, {1}}
		}
		regions = append(regions, region{slot: i.slot(s.In[r.From.Input]), from: r.From.Offset, to: r.ToOffset, dims: dims, src: strides[0], dst: strides[1]})
	}
	out := i.slot(s.Out[0])
	fill := -1
	if op.Fill != nil {
		fill = i.slot(s.In[op.Fill.Input])
	}
	// rows copies rows [first, last) of a region, a row being its fastest axis.
	rows := func(r *region, dst, src []T, first, last int) {
		axis := len(r.dims) - 1
		n, ss, ds := r.dims[axis], r.src[axis], r.dst[axis]
		for row := first; row < last; row++ {
			a, b := r.from, r.to
			for k, rest := axis-1, row; k >= 0; k-- {
				a += rest % r.dims[k] * r.src[k]
				b += rest % r.dims[k] * r.dst[k]
				rest /= r.dims[k]
			}
			if ss == 1 && ds == 1 {
				copy(dst[b:b+n], src[a:])
				continue
			}
			for range n {
				dst[b] = src[a]
				a += ss
				b += ds
			}
		}
	}
	const grain = 1 << 15 // elements
	var current *region
	var from, to []T
	var count, rowsPerPart int
	work := func(part, _ int) {
		rows(current, to, from, part*rowsPerPart, min(count, (part+1)*rowsPerPart))
	}
	return func() error {
		to = elements[T](i.memory[out])
		if fill >= 0 && len(to) > 0 {
			value := elements[T](i.memory[fill])[op.Fill.Offset]
			for k := range to {
				to[k] = value
			}
		}
		for k := range regions {
			current = &regions[k]
			from = elements[T](i.memory[current.slot])
			count = 1
			for _, d := range current.dims[:len(current.dims)-1] {
				count *= d
			}
			rowsPerPart = max(1, grain/current.dims[len(current.dims)-1])
			i.ctx.Pool.Run((count+rowsPerPart-1)/rowsPerPart, work)
		}
		return nil
	}
}
