// Package cpu is a backend for GoMLX that makes training and sampling of convolutional networks fast on a bare CPU, in
// pure Go with assembly for amd64. Importing it registers the backend "cpu" with compute:
//
//	import _ "github.com/doob-diffusion/doob/cpu"
//	backend, err := compute.NewWithConfig("cpu")
//
// It records a graph ([Function]), plans it (package plan) and runs the plan (package exec) on kernels for matrix
// products, convolutions, attention and vectors (packages gemm, conv, attention, vec and kern). Every operation works: the
// stock Go backend infers all shapes, and runs, one operation at a time, what has no kernel here. Kernels are in float32.
// Weights may have 16 bits: a float16 or bfloat16 that is converted to float32 on its way to a matrix product or convolution
// is widened there, a few rows at a time, and gives the bits of its widened copy.
//
// The configuration is a list of options separated by commas:
//
//	avx512, avx2, generic   instruction set (default: the environment's GOMLX_CPU_ISA, or the best there is)
//	workers=N               threads (default: one per processor)
//	direct                  no Winograd convolutions: slower, with errors four times smaller
//	bf16                    products of linear maps whose weights are bfloat16 take the other factor in bfloat16 too: for sampling
//
// With bf16 the activations in y = x·Wᵀ are rounded to the nearest bfloat16, which is off by at most 2⁻⁹ of it, and sums are in float32 as ever: y is off by at most
// 2⁻⁹·Σ|x·W|, and by about 2⁻⁹ of its size where errors go either way. Nothing else changes, gradients included, so that they are those of W, not of what
// was computed. It needs a processor with AVX512_BF16, or generic, which is slow and gives the same bits for a product.
//
// For a given instruction set the results are the same, bit for bit, with any number of workers.
package cpu
