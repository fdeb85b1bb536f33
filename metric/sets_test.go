package metric

import (
	"runtime"
	"testing"

	"github.com/doob-diffusion/doob/noise"
)

// normal returns n rows of N(mean, I), [n, dim].
func normal(seed uint64, n int, mean ...float64) []float32 {
	dim := len(mean)
	x := make([]float32, n*dim)
	for i := range n {
		row := x[i*dim : (i+1)*dim]
		noise.New(seed).Normal(row, uint64(i), 0)
		for k := range row {
			row[k] += float32(mean[k])
		}
	}
	return x
}

// shuffled returns the rows of x in another order.
func shuffled(seed uint64, x []float32, dim int) []float32 {
	y := make([]float32, 0, len(x))
	for _, i := range noise.New(seed).Rand().Perm(len(x) / dim) {
		y = append(y, x[i*dim:(i+1)*dim]...)
	}
	return y
}

// sameForAnyWorkers fails unless f gives the same bits on one processor and on seven.
func sameForAnyWorkers(t *testing.T, f func() float64) {
	t.Helper()
	old := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(old)
	one := f()
	runtime.GOMAXPROCS(7)
	if seven := f(); one != seven {
		t.Errorf("1 worker gives %v, 7 workers %v", one, seven)
	}
}

func mustPanic(t *testing.T, name string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic", name)
		}
	}()
	f()
}
