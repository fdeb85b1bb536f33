//go:build amd64 && !noasm

package kern

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

var (
	avx512Half = Half{
		Float16:  inBlocks(widenFloat16AVX512, genericFloat16),
		BFloat16: inBlocks(widenBFloat16AVX512, genericBFloat16),
	}
	avx2Half = func() Half {
		h := Half{Float16: genericFloat16, BFloat16: inBlocks(widenBFloat16AVX2, genericBFloat16)}
		if cpu.X86.HasF16C { // a feature of its own, which all processors with AVX2 have
			h.Float16 = inBlocks(widenFloat16AVX2, genericFloat16)
		}
		return h
	}()
)

// inBlocks completes a kernel for blocks of 16 numbers.
func inBlocks(kernel func(blocks int, dst *float32, src *uint16), rest Widening) Widening {
	return func(dst *float32, src *uint16, n int) {
		kernel(n/16, dst, src)
		if done := n &^ 15; done < n {
			rest(at(dst, done), (*uint16)(unsafe.Add(unsafe.Pointer(src), 2*done)), n-done)
		}
	}
}
