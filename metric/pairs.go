package metric

import "fmt"

// pairs returns the number n of rows of two flat [n, dim] slices.
func pairs(caller string, x, y []float32, dim int) int {
	if len(x) != len(y) {
		panic(fmt.Sprintf("metric.%s: %d and %d values do not pair up", caller, len(x), len(y)))
	}
	return rows(caller, x, dim)
}
