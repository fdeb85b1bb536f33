//go:build !amd64 || noasm

package bench

func fma(string) (loop func(rounds int), flop int) { return nil, 0 }
