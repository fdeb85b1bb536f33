package cpu

import (
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// This file records the operations with attributes. What package plan knows gets its attributes in a form of plan's;
// the rest has none and is run by the stock backend.

type (
	val = compute.Value
	fn  = compute.Function
)

func (f *function) ArgMinMax(x val, axis int, outputDType dtypes.DType, isMin bool) (val, error) {
	return f.add(compute.OpTypeArgMinMax, nil, []val{x}, func(g fn, in []val) (val, error) {
		return g.ArgMinMax(in[0], axis, outputDType, isMin)
	})
}

func (f *function) BatchNormForInference(operand, scale, offset, mean, variance val, epsilon float32, featureAxis int) (val, error) {
	return f.add(compute.OpTypeBatchNormForInference, nil, []val{operand, scale, offset, mean, variance}, func(g fn, in []val) (val, error) {
		return g.BatchNormForInference(in[0], in[1], in[2], in[3], in[4], epsilon, featureAxis)
	})
}

// three returns the results of an operation that has three.
func three(out []val, err error) (a, b, c val, _ error) {
	if err != nil {
		return nil, nil, nil, err
	}
	return out[0], out[1], out[2], nil
}

func (f *function) BatchNormForTraining(operand, scale, offset val, epsilon float32, featureAxis int) (normalized, batchMean, batchVariance val, err error) {
	return three(f.addMany(compute.OpTypeBatchNormForTraining, nil, []val{operand, scale, offset}, nil, func(g fn, in []val, _ []fn) ([]val, error) {
		a, b, c, err := g.BatchNormForTraining(in[0], in[1], in[2], epsilon, featureAxis)
		return []val{a, b, c}, err
	}))
}

func (f *function) BatchNormGradient(operand, scale, mean, variance, gradOutput val, epsilon float32, featureAxis int) (gradOperand, gradScale, gradOffset val, err error) {
	return three(f.addMany(compute.OpTypeBatchNormGradient, nil, []val{operand, scale, mean, variance, gradOutput}, nil, func(g fn, in []val, _ []fn) ([]val, error) {
		a, b, c, err := g.BatchNormGradient(in[0], in[1], in[2], in[3], in[4], epsilon, featureAxis)
		return []val{a, b, c}, err
	}))
}

func (f *function) Bitcast(operand val, targetDType dtypes.DType) (val, error) {
	return f.add(compute.OpTypeBitcast, nil, []val{operand}, func(g fn, in []val) (val, error) { return g.Bitcast(in[0], targetDType) })
}

func (f *function) BroadcastInDim(x val, outputShape shapes.Shape, broadcastAxes []int) (val, error) {
	outputShape, broadcastAxes = outputShape.Clone(), slices.Clone(broadcastAxes)
	return f.add(compute.OpTypeBroadcastInDim, plan.Axes(broadcastAxes), []val{x}, func(g fn, in []val) (val, error) {
		return g.BroadcastInDim(in[0], outputShape, broadcastAxes)
	})
}

func (f *function) Clamp(min, x, max val) (val, error) {
	return f.add(compute.OpTypeClamp, nil, []val{min, x, max}, func(g fn, in []val) (val, error) { return g.Clamp(in[0], in[1], in[2]) })
}

func (f *function) Concatenate(axis int, operands ...val) (val, error) {
	return f.add(compute.OpTypeConcatenate, plan.Concatenate(axis), operands, func(g fn, in []val) (val, error) {
		return g.Concatenate(axis, in...)
	})
}

func (f *function) ConvGeneral(input, kernel val, axes compute.ConvolveAxesConfig, strides []int, paddings [][2]int,
	inputDilations, kernelDilations []int, channelGroupCount, batchGroupCount int) (val, error) {
	c := plan.Conv{Axes: axes.Clone(), Strides: slices.Clone(strides), Paddings: slices.Clone(paddings), InputDilations: slices.Clone(inputDilations),
		KernelDilations: slices.Clone(kernelDilations), ChannelGroups: channelGroupCount, BatchGroups: batchGroupCount}
	return f.add(compute.OpTypeConvGeneral, c, []val{input, kernel}, func(g fn, in []val) (val, error) {
		return g.ConvGeneral(in[0], in[1], c.Axes, c.Strides, c.Paddings, c.InputDilations, c.KernelDilations, c.ChannelGroups, c.BatchGroups)
	})
}

func (f *function) ConvertDType(x val, dtype dtypes.DType) (val, error) {
	return f.add(compute.OpTypeConvertDType, nil, []val{x}, func(g fn, in []val) (val, error) { return g.ConvertDType(in[0], dtype) })
}

func (f *function) DotGeneral(lhs val, lhsContractingAxes, lhsBatchAxes []int, rhs val, rhsContractingAxes, rhsBatchAxes []int, config compute.DotGeneralConfig) (val, error) {
	d := plan.Dot{Contract: [2][]int{slices.Clone(lhsContractingAxes), slices.Clone(rhsContractingAxes)}, Batch: [2][]int{slices.Clone(lhsBatchAxes), slices.Clone(rhsBatchAxes)}}
	return f.add(compute.OpTypeDotGeneral, d, []val{lhs, rhs}, func(g fn, in []val) (val, error) {
		return g.DotGeneral(in[0], d.Contract[0], d.Batch[0], in[1], d.Contract[1], d.Batch[1], config)
	})
}

func (f *function) DynamicDimensionSize(operand val, axis int) (val, error) {
	return f.add(compute.OpTypeDynamicDimensionSize, nil, []val{operand}, func(g fn, in []val) (val, error) { return g.DynamicDimensionSize(in[0], axis) })
}

func (f *function) DynamicShape(operand val) (val, error) {
	return f.add(compute.OpTypeDynamicShape, nil, []val{operand}, func(g fn, in []val) (val, error) { return g.DynamicShape(in[0]) })
}

func (f *function) DynamicSlice(operand val, startIndices []val, sliceDims []int) (val, error) {
	sliceDims = slices.Clone(sliceDims)
	return f.add(compute.OpTypeDynamicSlice, nil, append([]val{operand}, startIndices...), func(g fn, in []val) (val, error) {
		return g.DynamicSlice(in[0], in[1:], sliceDims)
	})
}

func (f *function) DynamicUpdateSlice(operand, update val, startIndices []val) (val, error) {
	return f.add(compute.OpTypeDynamicUpdateSlice, nil, append([]val{operand, update}, startIndices...), func(g fn, in []val) (val, error) {
		return g.DynamicUpdateSlice(in[0], in[1], in[2:])
	})
}

func (f *function) FFT(operand val, fftType compute.FFTType, fftLength []int) (val, error) {
	fftLength = slices.Clone(fftLength)
	return f.add(compute.OpTypeFFT, nil, []val{operand}, func(g fn, in []val) (val, error) { return g.FFT(in[0], fftType, fftLength) })
}

func (f *function) Gather(operand, startIndices val, indexVectorAxis int, offsetOutputAxes, collapsedSliceAxes, startIndexMap, sliceSizes []int, indicesAreSorted bool) (val, error) {
	a, b, c, d := slices.Clone(offsetOutputAxes), slices.Clone(collapsedSliceAxes), slices.Clone(startIndexMap), slices.Clone(sliceSizes)
	return f.add(compute.OpTypeGather, f.lookup(operand, startIndices, indexVectorAxis, a, b, c, d), []val{operand, startIndices}, func(g fn, in []val) (val, error) {
		return g.Gather(in[0], in[1], indexVectorAxis, a, b, c, d, indicesAreSorted)
	})
}

func (f *function) Iota(shape shapes.Shape, iotaAxis int) (val, error) {
	shape = shape.Clone()
	return f.add(compute.OpTypeIota, nil, nil, func(g fn, _ []val) (val, error) { return g.Iota(shape, iotaAxis) })
}

func (f *function) Pad(x, fillValue val, axesConfig ...compute.PadAxis) (val, error) {
	axesConfig = slices.Clone(axesConfig)
	return f.add(compute.OpTypePad, plan.Pad(axesConfig), []val{x, fillValue}, func(g fn, in []val) (val, error) { return g.Pad(in[0], in[1], axesConfig...) })
}

func (f *function) ReduceWindow(input val, reductionType compute.ReduceOpType, windowDimensions, strides, inputDilations, windowDilations []int, paddings [][2]int) (val, error) {
	a, b, c, d, e := slices.Clone(windowDimensions), slices.Clone(strides), slices.Clone(inputDilations), slices.Clone(windowDilations), slices.Clone(paddings)
	return f.add(compute.OpTypeReduceWindow, nil, []val{input}, func(g fn, in []val) (val, error) {
		return g.ReduceWindow(in[0], reductionType, a, b, c, d, e)
	})
}

func (f *function) Reshape(x val, dimensions ...int) (val, error) {
	dimensions = slices.Clone(dimensions)
	return f.add(compute.OpTypeReshape, nil, []val{x}, func(g fn, in []val) (val, error) { return g.Reshape(in[0], dimensions...) })
}

func (f *function) Reverse(x val, axes ...int) (val, error) {
	axes = slices.Clone(axes)
	return f.add(compute.OpTypeReverse, plan.Axes(axes), []val{x}, func(g fn, in []val) (val, error) { return g.Reverse(in[0], axes...) })
}

func (f *function) RNGBitGenerator(state val, shape shapes.Shape) (newState, values val, err error) {
	shape = shape.Clone()
	out, err := f.addMany(compute.OpTypeRNGBitGenerator, nil, []val{state}, nil, func(g fn, in []val, _ []fn) ([]val, error) {
		a, b, err := g.RNGBitGenerator(in[0], shape)
		return []val{a, b}, err
	})
	if err != nil {
		return nil, nil, err
	}
	return out[0], out[1], nil
}

type scatter func(g fn, operand, indices, updates val, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, sorted, unique bool) (val, error)

func (f *function) scatter(op compute.OpType, operand, indices, updates val, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, sorted, unique bool, build scatter) (val, error) {
	a, b, c := slices.Clone(updateWindowAxes), slices.Clone(insertedWindowAxes), slices.Clone(scatterAxesToOperandAxes)
	return f.add(op, nil, []val{operand, indices, updates}, func(g fn, in []val) (val, error) {
		return build(g, in[0], in[1], in[2], indexVectorAxis, a, b, c, sorted, unique)
	})
}

func (f *function) ScatterMax(operand, scatterIndices, updates val, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, indicesAreSorted, uniqueIndices bool) (val, error) {
	return f.scatter(compute.OpTypeScatterMax, operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes, indicesAreSorted, uniqueIndices, fn.ScatterMax)
}

func (f *function) ScatterMin(operand, scatterIndices, updates val, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, indicesAreSorted, uniqueIndices bool) (val, error) {
	return f.scatter(compute.OpTypeScatterMin, operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes, indicesAreSorted, uniqueIndices, fn.ScatterMin)
}

func (f *function) ScatterSum(operand, scatterIndices, updates val, indexVectorAxis int, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes []int, indicesAreSorted, uniqueIndices bool) (val, error) {
	return f.scatter(compute.OpTypeScatterSum, operand, scatterIndices, updates, indexVectorAxis, updateWindowAxes, insertedWindowAxes, scatterAxesToOperandAxes, indicesAreSorted, uniqueIndices, fn.ScatterSum)
}

func (f *function) SelectAndScatterMax(operand, source val, windowDimensions, windowStrides []int, paddings [][2]int) (val, error) {
	a, b, c := slices.Clone(windowDimensions), slices.Clone(windowStrides), slices.Clone(paddings)
	return f.add(compute.OpTypeSelectAndScatterMax, nil, []val{operand, source}, func(g fn, in []val) (val, error) {
		return g.SelectAndScatterMax(in[0], in[1], a, b, c)
	})
}

func (f *function) SelectAndScatterMin(operand, source val, windowDimensions, windowStrides []int, paddings [][2]int) (val, error) {
	a, b, c := slices.Clone(windowDimensions), slices.Clone(windowStrides), slices.Clone(paddings)
	return f.add(compute.OpTypeSelectAndScatterMin, nil, []val{operand, source}, func(g fn, in []val) (val, error) {
		return g.SelectAndScatterMin(in[0], in[1], a, b, c)
	})
}

func (f *function) Slice(x val, starts, limits, strides []int) (val, error) {
	a, b, c := slices.Clone(starts), slices.Clone(limits), slices.Clone(strides)
	s := plan.Slice{Start: a, Stride: c}
	if len(c) == 0 {
		s.Stride = slices.Repeat([]int{1}, len(a))
	}
	return f.add(compute.OpTypeSlice, s, []val{x}, func(g fn, in []val) (val, error) { return g.Slice(in[0], a, b, c) })
}

func (f *function) Transpose(x val, permutation ...int) (val, error) {
	permutation = slices.Clone(permutation)
	return f.add(compute.OpTypeTranspose, plan.Axes(permutation), []val{x}, func(g fn, in []val) (val, error) { return g.Transpose(in[0], permutation...) })
}

func (f *function) Where(condition, onTrue, onFalse val) (val, error) {
	return f.add(compute.OpTypeWhere, nil, []val{condition, onTrue, onFalse}, func(g fn, in []val) (val, error) { return g.Where(in[0], in[1], in[2]) })
}

func (f *function) OptimizationBarrier(operands ...val) ([]val, error) {
	return f.addMany(compute.OpTypeOptimizationBarrier, nil, operands, nil, func(g fn, in []val, _ []fn) ([]val, error) { return g.OptimizationBarrier(in...) })
}

func (f *function) SchedulingBarrier(operand val, dependencies ...val) (val, error) {
	return f.add(compute.OpTypeSchedulingBarrier, nil, append([]val{operand}, dependencies...), func(g fn, in []val) (val, error) {
		return g.SchedulingBarrier(in[0], in[1:]...)
	})
}
