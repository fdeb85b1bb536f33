package metric

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// sumOver returns piece(0) + … + piece(n-1), added in that order. The pieces run on all processors; each worker makes
// its own piece function, so that it can keep scratch memory there.
func sumOver(n int, worker func() (piece func(i int) float64)) float64 {
	part := make([]float64, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			piece := worker()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				part[i] = piece(i)
			}
		})
	}
	wg.Wait()
	var sum float64
	for _, v := range part {
		sum += v
	}
	return sum
}
