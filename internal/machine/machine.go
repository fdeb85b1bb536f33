// Package machine says how much memory and disk there is to take.
package machine

import (
	"runtime"
	"runtime/debug"
)

// Memory returns the bytes of memory that this process may still take, and whether that is known.
func Memory() (bytes float64, ok bool) { return memory() }

// Resident returns the bytes of memory that this process has.
func Resident() float64 {
	if bytes, ok := resident(); ok {
		return bytes
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.Sys)
}

// Peak returns the most memory that this process has had, in bytes, since it began or ResetPeak was called, and whether that is known.
func Peak() (bytes float64, ok bool) { return peak() }

// Free gives back the memory that nobody uses. What backends keep for their next tensors outlives one collection, and not two.
func Free() {
	runtime.GC()
	debug.FreeOSMemory()
}

// ResetPeak gives back what memory can be, makes [Peak] begin anew, and reports whether it does.
func ResetPeak() bool {
	Free()
	return resetPeak()
}

// Disk returns the bytes that may still be written below a folder, or below the nearest one above that exists, and whether that is known.
func Disk(folder string) (bytes float64, ok bool) { return disk(folder) }
