//go:build amd64 && !noasm

package kern

import (
	"math"
	"unsafe"
)

var avx512Vec = Vec{
	Add: addAVX512, Sub: subAVX512, Mul: mulAVX512, Div: divAVX512, Max: maxAVX512, Min: minAVX512,
	Less: lessAVX512, LessEqual: lessEqualAVX512, Equal: equalAVX512, NotEqual: notEqualAVX512,
	AddS: addScalarAVX512, SubS: subScalarAVX512, MulS: mulScalarAVX512, DivS: divScalarAVX512,
	RSubS: subFromAVX512, RDivS: divIntoAVX512, MaxS: maxScalarAVX512, MinS: minScalarAVX512,
	LessS: lessScalarAVX512, LessEqualS: lessEqualScalarAVX512, EqualS: equalScalarAVX512,
	NotEqualS: notEqualScalarAVX512, GreaterS: greaterScalarAVX512, GreaterEqualS: greaterEqualScalarAVX512,
	MulAdd: mulAddAVX512, Axpy: axpyAVX512, Lerp: lerpAVX512, Select: chooseAVX512, Fill: fillAVX512,
	Neg: negAVX512, Abs: absAVX512, Square: squareAVX512, Recip: recipAVX512, Sqrt: sqrtAVX512, Rsqrt: rsqrtAVX512,
	Floor: floorAVX512, Ceil: ceilAVX512, Round: roundAVX512, Sign: signAVX512,
	Exp: expAVX512, Expm1: expm1AVX512, Log: logAVX512, Log1p: log1pGeneric, Tanh: tanhAVX512,
	Sin: farBy(sinAVX512, math.Sin), Cos: farBy(cosAVX512, math.Cos), Erf: erfAVX512,
	Logistic: logisticAVX512, SiLU: siluAVX512, SiLUGrad: siluGradAVX512,
	GELU: geluAVX512, GELUGrad: geluGradAVX512, QuickGELU: quickGELUAVX512, QuickGELUGrad: quickGELUGradAVX512,
	Sum: sumAVX512, SumSquares: sumSquaresAVX512, Dot: dotAVX512,
	MaxReduce: maxReduceAVX512, MinReduce: minReduceAVX512, ExpSum: expSumAVX512, SoftmaxGrad: softmaxGradAVX512,
	AccumulateRows: accumulateRowsAVX512, Moments: momentsAVX512,
	AffineRows: affineRowsAVX512, AffineSiLURows: affineSiLURowsAVX512,
	GradMoments: gradMomentsAVX512, SiLUGradMoments: siluGradMomentsAVX512, AffineSumRows: affineSumRowsAVX512,
	AdamW: func(p1, m1, v1, p, grad, m, v *float32, coefficients *AdamW, n int) {
		adamWAVX512(p1, m1, v1, p, grad, m, v, &coefficients.Rate, n)
	},
}

var avx2Vec = Vec{
	Add: addAVX2, Sub: subAVX2, Mul: mulAVX2, Div: divAVX2, Max: maxAVX2, Min: minAVX2,
	Less: lessAVX2, LessEqual: lessEqualAVX2, Equal: equalAVX2, NotEqual: notEqualAVX2,
	AddS: addScalarAVX2, SubS: subScalarAVX2, MulS: mulScalarAVX2, DivS: divScalarAVX2,
	RSubS: subFromAVX2, RDivS: divIntoAVX2, MaxS: maxScalarAVX2, MinS: minScalarAVX2,
	LessS: lessScalarAVX2, LessEqualS: lessEqualScalarAVX2, EqualS: equalScalarAVX2,
	NotEqualS: notEqualScalarAVX2, GreaterS: greaterScalarAVX2, GreaterEqualS: greaterEqualScalarAVX2,
	MulAdd: mulAddAVX2, Axpy: axpyAVX2, Lerp: lerpAVX2, Select: chooseAVX2, Fill: fillAVX2,
	Neg: negAVX2, Abs: absAVX2, Square: squareAVX2, Recip: recipAVX2, Sqrt: sqrtAVX2, Rsqrt: rsqrtAVX2,
	Floor: floorAVX2, Ceil: ceilAVX2, Round: roundAVX2, Sign: signAVX2,
	Exp: expAVX2, Expm1: expm1AVX2, Log: logAVX2, Log1p: log1pGeneric, Tanh: tanhAVX2,
	Sin: farBy(sinAVX2, math.Sin), Cos: farBy(cosAVX2, math.Cos), Erf: erfAVX2,
	Logistic: logisticAVX2, SiLU: siluAVX2, SiLUGrad: siluGradAVX2,
	GELU: geluAVX2, GELUGrad: geluGradAVX2, QuickGELU: quickGELUAVX2, QuickGELUGrad: quickGELUGradAVX2,
	Sum: sumAVX2, SumSquares: sumSquaresAVX2, Dot: dotAVX2,
	MaxReduce: maxReduceAVX2, MinReduce: minReduceAVX2, ExpSum: expSumAVX2, SoftmaxGrad: softmaxGradAVX2,
	AccumulateRows: accumulateRowsAVX2, Moments: momentsAVX2,
	AffineRows: affineRowsAVX2, AffineSiLURows: affineSiLURowsAVX2,
	GradMoments: gradMomentsAVX2, SiLUGradMoments: siluGradMomentsAVX2, AffineSumRows: affineSumRowsAVX2,
	AdamW: func(p1, m1, v1, p, grad, m, v *float32, coefficients *AdamW, n int) {
		adamWAVX2(p1, m1, v1, p, grad, m, v, &coefficients.Rate, n)
	},
}

// farBy completes a kernel that stops before a vector with an argument that is too large for it. The function does those
// arguments, the kernel the others of the vector, so that a result does not depend on its neighbours.
func farBy(kernel func(dst, a *float32, n int) int, f func(float64) float64) Unary {
	return func(dst, a *float32, n int) {
		for {
			done := kernel(dst, a, n)
			if done == n {
				return
			}
			d, x := unsafe.Slice(dst, n)[done:], unsafe.Slice(a, n)[done:]
			var near, result [16]float32
			count := copy(near[:], x)
			for i, v := range near {
				if abs(v) > sinLimit {
					near[i] = 0
				}
			}
			kernel(&result[0], &near[0], count)
			for i, v := range x[:count] {
				if abs(v) > sinLimit {
					result[i] = float32(f(float64(v)))
				}
			}
			copy(d, result[:count])
			if count == len(d) {
				return
			}
			dst, a, n = &d[count], &x[count], len(d)-count
		}
	}
}

// sinLimit is the largest argument that the kernels of sin and cos take.
const sinLimit = 1e5
