//go:build amd64 && !noasm

package bench

func fmaAVX512(n int)

func fmaAVX2(n int)

// fma returns the register-only loop of an instruction set and the floating-point operations of one of its rounds.
func fma(isa string) (loop func(rounds int), flop int) {
	switch isa {
	case "avx512":
		return fmaAVX512, 16 * 16 * 2
	case "avx2":
		return fmaAVX2, 14 * 8 * 2
	}
	return nil, 0
}
