package metric

import "fmt"

// rows returns the number n of rows of a flat [n, dim] slice.
func rows(caller string, x []float32, dim int) int {
	if dim < 1 || len(x)%dim != 0 {
		panic(fmt.Sprintf("metric.%s: %d values are no whole number of rows of dimension %d", caller, len(x), dim))
	}
	return len(x) / dim
}
