package plan

import "github.com/gomlx/compute"

// Node is one operation. Op is compute's operation, with the attributes below in Attr; operations with attributes that
// are not listed here are External.
type Node struct {
	Op   compute.OpType
	Attr any
	In   []*Value
	Out  []*Value
	// Record is the recording's own description, with which an External step is run.
	Record any
}

// Attributes of nodes, by operation.
type (
	// Axes are those of ReduceSum, ReduceMax, ReduceMin, the permutation of Transpose, the reversed axes of Reverse, and
	// the output axes of the operand of BroadcastInDim.
	Axes []int
	// Slice is the start and stride of Slice along every axis.
	Slice struct{ Start, Stride []int }
	// Pad is the padding along every axis.
	Pad []compute.PadAxis
	// Concatenate is the axis.
	Concatenate int
	// Dot are the axes of DotGeneral.
	Dot struct{ Contract, Batch [2][]int }
	// Conv is what ConvGeneral takes.
	Conv struct {
		Axes                            compute.ConvolveAxesConfig
		Strides                         []int
		Paddings                        [][2]int
		InputDilations, KernelDilations []int
		ChannelGroups, BatchGroups      int
	}
	// Rows marks a Gather of whole rows of the first operand by numbers in the second, int32, one for each row of the result.
	Rows struct{}
	// Softmax is the axis of FusedSoftmax.
	Softmax int
	// Named is a call of a named function that has a kernel: its name and the numbers in it, by key.
	Named struct {
		Name string
		Ints map[string]int
		// Floats are the numbers written as eight hexadecimal digits.
		Floats map[string]float64
		// In and Out are the dimensions of operands and results, which a step's values may have in another shape.
		In, Out [][]int
	}
	// External is an operation that only the reference backend knows. Its value is the recording's own.
	External struct{ Record any }
)
