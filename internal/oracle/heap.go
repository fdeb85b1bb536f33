package oracle

import (
	"math"
	"runtime"
	"time"
)

// Heap returns the bytes of the heap that are in use when all that can go has gone: cleanups of what was collected run beside a program, and what they let go
// is collected after them.
func Heap() float64 {
	var m runtime.MemStats
	for last, same := math.Inf(1), 0; same < 3; last = float64(m.HeapAlloc) {
		runtime.GC()
		time.Sleep(2 * time.Millisecond)
		if runtime.ReadMemStats(&m); float64(m.HeapAlloc) > last-1<<16 {
			same++
		} else {
			same = 0
		}
	}
	return float64(m.HeapAlloc)
}
