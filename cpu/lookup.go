package cpu

import (
	"slices"

	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// lookup returns [plan.Rows] if a Gather copies whole rows of its operand, each found by one number, to the end of the axes of
// the indices, as that of embeddings does; else nil.
func (f *function) lookup(operand, indices val, indexVectorAxis int, offsetAxes, collapsedAxes, startIndexMap, sliceSizes []int) any {
	values, _, err := f.operands([]val{operand, indices})
	if err != nil {
		return nil // f.add says what is wrong
	}
	table, at := values[0].shape, values[1].shape
	last := at.Rank() - 1
	if table.Rank() < 1 || table.Size() == 0 || last < 0 || at.DType != dtypes.Int32 || indexVectorAxis != last || at.Dimensions[last] != 1 {
		return nil
	}
	rows := append([]int{1}, table.Dimensions[1:]...)
	var after []int
	for axis := range rows[1:] {
		after = append(after, last+axis)
	}
	first := []int{0}
	if !slices.Equal(collapsedAxes, first) || !slices.Equal(startIndexMap, first) || !slices.Equal(sliceSizes, rows) || !slices.Equal(offsetAxes, after) {
		return nil
	}
	return plan.Rows{}
}
