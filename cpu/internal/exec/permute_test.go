package exec

import (
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// Copies that only reorder axes have a kernel; nobody would notice otherwise, but for the time they take.
func TestPermutationsHaveAKernel(t *testing.T) {
	tensor := func(dims ...int) *plan.Value { return &plan.Value{DType: dtypes.Float32, Dims: dims} }
	bind := func(dims, strides []int, offset int, from *plan.Value) bool {
		to, n := make([]int, len(dims)), 1
		for i := len(dims) - 1; i >= 0; i-- {
			to[i] = n
			n *= dims[i]
		}
		s := &plan.Step{In: []*plan.Value{from}, Out: []*plan.Value{{DType: from.DType, Dims: dims}}}
		c := &plan.Copy{Regions: []plan.Region{{From: plan.Operand{Offset: offset, Dims: dims, Strides: strides}, To: to}}}
		run, err := (&Instance{slots: map[*plan.Value]int{}}).permute(c, s)
		if err != nil {
			t.Fatal(err)
		}
		return run != nil
	}
	for _, c := range []struct {
		name          string
		dims, strides []int
		offset        int
		from          *plan.Value
		want          bool
	}{
		{"transposition", []int{5, 4}, []int{1, 5}, 0, tensor(4, 5), true},
		{"three axes", []int{4, 2, 3}, []int{1, 12, 4}, 0, tensor(2, 3, 4), true},
		{"cycle", []int{3, 4, 2}, []int{4, 1, 12}, 0, tensor(2, 3, 4), true},
		{"with axes of one", []int{5, 1, 4}, []int{1, 7, 5}, 0, tensor(4, 5), true},
		{"reversal", []int{5, 4}, []int{-1, 5}, 4, tensor(4, 5), false},
		{"broadcast", []int{5, 4}, []int{1, 0}, 0, tensor(20), false},
		{"part", []int{3, 4}, []int{1, 5}, 0, tensor(4, 5), false},
		{"every second", []int{4, 5}, []int{1, 8}, 0, tensor(4, 5), false},
		{"another type", []int{5, 4}, []int{1, 5}, 0, &plan.Value{DType: dtypes.Float64, Dims: []int{4, 5}}, false},
	} {
		if got := bind(c.dims, c.strides, c.offset, c.from); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}
