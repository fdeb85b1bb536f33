package vec

import (
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

// eachTable runs the function with every instruction set and two workers.
func eachTable(t testing.TB, f func(name string, ctx *kern.Context)) {
	workers := pool.New(2)
	defer workers.Close()
	for _, table := range kern.Tables() {
		f(table.Name, kern.NewContext(table, workers))
	}
}

// workersAgree runs the function with every instruction set and 1, 2 and 8 workers: the results must have the same bits.
func workersAgree(t *testing.T, what string, f func(ctx *kern.Context) [][]float32) {
	t.Helper()
	for _, table := range kern.Tables() {
		var first [][]float32
		for _, count := range []int{1, 2, 8} {
			workers := pool.New(count)
			results := f(kern.NewContext(table, workers))
			workers.Close()
			if first == nil {
				first = results
				continue
			}
			for i, result := range results {
				equal(t, fmt.Sprintf("%s %s, %d workers, result %d", table.Name, what, count, i), result, first[i])
			}
		}
	}
}

func equal(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i, v := range got {
		if math.Float32bits(v) != math.Float32bits(want[i]) {
			t.Fatalf("%s: value %d is %v, expected %v", what, i, v, want[i])
		}
	}
}

func noAllocation(t *testing.T, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(2, f); n != 0 {
		t.Fatalf("a run makes %v allocations, expected none", n)
	}
}

// differences compares a gradient with central differences of the loss by the values of a parameter.
func differences(t *testing.T, what string, loss func() float64, parameter, gradient []float64) {
	t.Helper()
	const step = 1e-5
	for i, v := range parameter {
		parameter[i] = v + step
		up := loss()
		parameter[i] = v - step
		down := loss()
		parameter[i] = v
		if want := (up - down) / (2 * step); math.Abs(gradient[i]-want) > 1e-7*(1+math.Abs(want)) {
			t.Fatalf("%s[%d] is %v, the differences give %v", what, i, gradient[i], want)
		}
	}
}
