package exec

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/conv"
	"github.com/doob-diffusion/doob/cpu/internal/gemm"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
	"github.com/doob-diffusion/doob/cpu/internal/vec"
)

// bind returns what runs one step.
func (i *Instance) bind(s *plan.Step) (func() error, error) {
	switch op := s.Op.(type) {
	case *plan.Chain:
		return i.chain(op, s)
	case *plan.Copy:
		return i.copy(op, s)
	case *plan.Lookup:
		return i.lookup(op, s)
	case *plan.Reduction:
		return i.reduction(op, s)
	case *plan.SoftmaxRows:
		return i.softmax(op, s)
	case *plan.Product:
		return i.product(op, s)
	case *plan.Convolution:
		return i.convolution(op, s)
	case *plan.Widen:
		return i.widen(s)
	case plan.Named:
		return i.named(op, s)
	case plan.External:
		return i.external(s)
	}
	return nil, fmt.Errorf("no kernel for steps of type %T", s.Op)
}

func (i *Instance) external(s *plan.Step) (func() error, error) {
	run, err := i.options.External(s)
	if err != nil {
		return nil, err
	}
	ins, outs := i.slotsOf(s.In), i.slotsOf(s.Out)
	in, out := make([]any, len(s.In)), make([]any, len(s.Out))
	return func() error {
		for k, slot := range ins {
			in[k] = i.memory[slot].Flat
		}
		for k, slot := range outs {
			out[k] = i.memory[slot].Flat
		}
		return run(in, out)
	}, nil
}

func (i *Instance) reduction(op *plan.Reduction, s *plan.Step) (func() error, error) {
	kind, ok := map[compute.OpType]vec.ReduceKind{
		compute.OpTypeReduceSum: vec.Sum, compute.OpTypeReduceMax: vec.Max, compute.OpTypeReduceMin: vec.Min,
	}[op.Op]
	if !ok {
		return nil, fmt.Errorf("no kernel for %s", op.Op)
	}
	r, err := vec.PrepareReduce(vec.ReduceSpec{Kind: kind, Outer: op.Outer, Reduce: op.Reduce, Inner: op.Inner})
	if err != nil {
		return nil, err
	}
	y, x := i.slot(s.Out[0]), i.slot(s.In[0])
	return func() error {
		r.Run(i.ctx, i.memory[y].F32, i.memory[x].F32)
		return nil
	}, nil
}

func (i *Instance) softmax(op *plan.SoftmaxRows, s *plan.Step) (func() error, error) {
	f, err := vec.PrepareSoftmax(op.Rows, op.Width)
	if err != nil {
		return nil, err
	}
	y, x := i.slot(s.Out[0]), i.slot(s.In[0])
	return func() error {
		f.Forward(i.ctx, i.memory[y].F32, i.memory[x].F32)
		return nil
	}, nil
}

// optional returns the memory of an input that may be absent, which index 0 says.
func (i *Instance) optional(s *plan.Step, index int) func() []float32 {
	if index == 0 {
		return func() []float32 { return nil }
	}
	slot := i.slot(s.In[index])
	return func() []float32 { return i.memory[slot].F32 }
}

func (i *Instance) product(op *plan.Product, s *plan.Step) (func() error, error) {
	spec := gemm.Spec{M: op.M, N: op.N, K: op.K, TransA: op.TransA, TransB: op.TransB, LDA: op.LDA, LDB: op.LDB}
	for _, axis := range op.Batch {
		spec.Batch = append(spec.Batch, gemm.Axis(axis))
	}
	g, err := gemm.Prepare(spec)
	if err != nil {
		return nil, err
	}
	i.shared = max(i.shared, g.Shared(i.ctx.Gemm.NR))
	if i.ctx.Rounding != nil && s.In[1].DType == dtypes.BFloat16 && g.Rounds() {
		rounded, packed := g.SharedRounding(i.ctx.Gemm.NR)
		i.shared, i.rounding = max(i.shared, rounded), max(i.rounding, packed)
	}
	c, a, b := i.slot(s.Out[0]), i.slot(s.In[0]), i.numbers(s.In[1])
	bias, residual := i.optional(s, op.Bias), i.optional(s, op.Residual)
	return func() error {
		g.RunWith(i.ctx, i.memory[c].F32, i.memory[a].F32[op.OffA:], b().From(op.OffB), bias(), residual())
		return nil
	}, nil
}

func (i *Instance) convolution(op *plan.Convolution, s *plan.Step) (func() error, error) {
	spec := conv.Spec{Batch: op.Batch, H: op.H, W: op.W, Ci: op.Ci, Kh: op.Kh, Kw: op.Kw, Co: op.Co,
		StrideH: op.StrideH, StrideW: op.StrideW, DilationH: op.DilationH, DilationW: op.DilationW,
		PadTop: op.PadTop, PadBottom: op.PadBottom, PadLeft: op.PadLeft, PadRight: op.PadRight}
	if i.options.Direct {
		spec.Method = conv.Direct
	}
	f, err := conv.Prepare(spec)
	if err != nil {
		return nil, err
	}
	i.shared = max(i.shared, f.Shared(i.ctx.Gemm.NR))
	out, a, b := i.slot(s.Out[0]), i.slot(s.In[0]), i.numbers(s.In[1])
	bias, residual := i.optional(s, op.Bias), i.optional(s, op.Residual)
	return func() error {
		out, a, b := i.memory[out].F32, i.memory[a].F32, b()
		switch op.Pass {
		case plan.Forward:
			f.ForwardWith(i.ctx, out, a, b, bias(), residual())
		case plan.InputGrad:
			f.InputGradWith(i.ctx, out, a, b)
		case plan.KernelGrad:
			f.KernelGrad(i.ctx, out, a, b.Single)
		}
		return nil
	}, nil
}
