package exec

import (
	"fmt"
	"strings"
	"unsafe"

	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// External runs a step that has no kernel here. In and out are flat slices of the operands' element types.
type External func(in, out []any) error

// Options are what an instance is made with.
type Options struct {
	// Context has the instruction set, the workers and scratch memory, Arena at least the layout's Bytes, aligned to a cache line. Other instances may
	// have them too, as long as no two run at the same time: nothing in them is kept from run to run.
	Context *kern.Context
	Arena   []float32
	// External prepares a step that has no kernel here.
	External func(step *plan.Step) (External, error)
	// Direct disables Winograd convolutions.
	Direct bool
}

// Instance is a program that is bound to memory. It runs one execution at a time.
type Instance struct {
	ctx     *kern.Context
	program *plan.Program
	layout  *plan.Layout
	options Options

	slots   map[*plan.Value]int
	memory  []Memory // by slot
	params  [][]int  // slots in the memory of every parameter
	results [][]int  // and of every output
	outs    []int    // slot of every output
	steps   []func() error
	names   []string
	shared  int // floats of scratch memory that the largest step takes, about

	rounding int // and in the context for products of bfloat16
}

// Memory is the elements of one tensor: flat, a slice of its Go type, and the same as []float32 if that is the type.
type Memory struct {
	Flat any
	F32  []float32
}

// Of returns the memory in a flat slice.
func Of(flat any) Memory {
	f, _ := flat.([]float32)
	return Memory{Flat: flat, F32: f}
}

// New binds a program.
func New(p *plan.Program, layout *plan.Layout, options Options) (*Instance, error) {
	i := &Instance{ctx: options.Context, program: p, layout: layout, options: options, slots: map[*plan.Value]int{}, params: make([][]int, len(p.Params)), results: make([][]int, len(p.Outs))}
	for _, s := range p.Steps {
		for _, v := range s.In {
			i.place(v)
		}
		for _, v := range s.Out {
			i.place(v)
		}
	}
	for _, v := range p.Outs {
		i.outs = append(i.outs, i.place(v))
	}
	for _, s := range p.Steps {
		run, err := i.bind(s)
		if err != nil {
			return nil, fmt.Errorf("cpu: %s: %w", name(s), err)
		}
		i.steps = append(i.steps, run)
		i.names = append(i.names, name(s))
	}
	i.ctx.Shared(i.shared) // at once: growing step by step would leave what was too small to the collector
	if i.rounding > 0 {
		i.ctx.Rounding.Shared(i.rounding)
	}
	return i, nil
}

func name(s *plan.Step) string {
	switch op := s.Op.(type) {
	case plan.Named:
		return op.Name
	case *plan.Chain:
		return fmt.Sprintf("chain of %d", len(op.Code))
	case *plan.Convolution:
		return [...]string{"convolution", "convolution's input gradient", "convolution's kernel gradient"}[op.Pass]
	case plan.External:
		return fmt.Sprint(op.Record)
	default:
		kind := fmt.Sprintf("%T", op)
		return kind[strings.LastIndexByte(kind, '.')+1:]
	}
}

// place returns the slot of a value, with its memory if that never changes.
func (i *Instance) place(v *plan.Value) int {
	if slot, ok := i.slots[v]; ok {
		return slot
	}
	slot := len(i.memory)
	i.slots[v] = slot
	var m Memory
	switch place := i.layout.Places[v]; place.Kind {
	case plan.Arena:
		m = Of(View(i.options.Arena[place.Offset/4:], v.DType, v.Dims...))
	case plan.Const:
		m = Of(v.Const)
	case plan.Param:
		i.params[place.Index] = append(i.params[place.Index], slot)
	case plan.Out:
		i.results[place.Index] = append(i.results[place.Index], slot)
	}
	i.memory = append(i.memory, m)
	return slot
}

// View sees the beginning of memory as the flat slice of a tensor. Elements that share bytes are seen as bytes.
func View(memory []float32, dtype dtypes.DType, dims ...int) any {
	n := 1
	for _, d := range dims {
		n *= d
	}
	if n == 0 {
		return dtypes.MakeAnySlice(dtype, 0)
	}
	p := unsafe.Pointer(unsafe.SliceData(memory))
	switch {
	case dtype == dtypes.Float32:
		return memory[:n:n]
	case dtype.IsPacked():
		return unsafe.Slice((*byte)(p), dtype.SizeForDimensions(dims...))
	}
	return dtypes.UnsafeAnySliceFromBytes(p, dtype, n)
}

// Run executes the program on parameters and outputs. An output with a donor must be given the donor's memory.
func (i *Instance) Run(params, outs []Memory) error {
	for k, slots := range i.params {
		for _, slot := range slots {
			i.memory[slot] = params[k]
		}
	}
	for k, slots := range i.results {
		for _, slot := range slots {
			i.memory[slot] = outs[k]
		}
	}
	i.ctx.Pool.Enter()
	defer i.ctx.Pool.Leave()
	for k, step := range i.steps {
		if err := step(); err != nil {
			return fmt.Errorf("cpu: %s: %w", i.names[k], err)
		}
	}
	for k, copied := range i.layout.Copied {
		if copied {
			copyFlat(outs[k].Flat, i.memory[i.outs[k]].Flat)
		}
	}
	// An idle instance keeps nothing of its callers alive.
	for _, slots := range [][][]int{i.params, i.results} {
		for _, s := range slots {
			for _, slot := range s {
				i.memory[slot] = Memory{}
			}
		}
	}
	return nil
}

// slot is where a step finds the memory of v, anew in every run: that of parameters and outputs changes.
func (i *Instance) slot(v *plan.Value) int { return i.slots[v] }

func (i *Instance) slotsOf(values []*plan.Value) []int {
	slots := make([]int, len(values))
	for k, v := range values {
		slots[k] = i.slots[v]
	}
	return slots
}
