package kern

//go:generate go run -C ../asmgen . -kernels vec -out ../kern/vec_amd64.s -stubs ../kern/vec_stub_amd64.go -pkg kern

// The types of the elementwise loops. A pointer is the first of n contiguous values; n may be 0. dst may be equal to any
// operand, but must not overlap it in another way.
type (
	// Unary is dst[i] = f(a[i]).
	Unary = func(dst, a *float32, n int)
	// Binary is dst[i] = f(a[i], b[i]).
	Binary = func(dst, a, b *float32, n int)
	// Scalar is dst[i] = f(a[i], s).
	Scalar = func(dst, a *float32, s float32, n int)
	// Reduction is one value of n ≥ 1 values.
	Reduction = func(a *float32, n int) float32
)

// Vec holds the loops over contiguous values that are not matrix products. None may be called with more than some 10⁵
// values: assembly cannot be interrupted, so the drivers cut their work into blocks.
//
// Error bounds are in units in the last place (ulp) of a normal result. Denormal arguments and results are kept, not
// flushed to zero, and NaN arguments give NaN.
type Vec struct {
	Add, Sub, Mul, Div Binary
	// Max and Min are NaN if either operand is, and take -0 to be less than +0.
	Max, Min Binary
	// The comparisons give 1 for true and 0 for false; with a NaN only NotEqual is true.
	Less, LessEqual, Equal, NotEqual Binary

	AddS, SubS, MulS, DivS                                        Scalar // a ∘ s
	RSubS, RDivS                                                  Scalar // s ∘ a
	MaxS, MinS                                                    Scalar
	LessS, LessEqualS, EqualS, NotEqualS, GreaterS, GreaterEqualS Scalar

	// MulAdd is dst = a·b + c, rounded once by the assembly.
	MulAdd func(dst, a, b, c *float32, n int)
	// Axpy is dst = s·a + b, rounded once by the assembly; with dst = b it is the BLAS routine.
	Axpy func(dst, a, b *float32, s float32, n int)
	// Lerp is dst = b + s·(a − b): an exponential moving average for a the average, b the new value and s the decay.
	Lerp func(dst, a, b *float32, s float32, n int)
	// Select is dst[i] = a[i] where mask[i] ≠ 0 and b[i] elsewhere.
	Select func(dst, mask, a, b *float32, n int)
	// Fill is dst[i] = s.
	Fill func(dst *float32, s float32, n int)

	Neg, Abs, Square, Recip Unary
	Sqrt                    Unary // correctly rounded
	Rsqrt                   Unary // 1/√a within 1.5 ulp
	Floor, Ceil             Unary
	Round                   Unary // to the nearest integer, ties to even
	Sign                    Unary // ±1, and a itself if it is ±0 or NaN

	Exp   Unary // within 1 ulp
	Expm1 Unary // within 2 ulp
	Log   Unary // within 1 ulp; NaN below 0, −Inf at ±0
	Log1p Unary // Go's math on every instruction set
	Tanh  Unary // within 2.5 ulp
	// Sin and Cos are within 2 ulp; arguments beyond ±10⁵ go through Go's math one by one.
	Sin, Cos Unary
	Erf      Unary // within 1.5 ulp
	// Logistic is σ(a) = 1/(1 + exp(−a)) within 2.5 ulp.
	Logistic Unary
	// SiLU is a·σ(a) within 3 ulp, or within 1e-43 below −87, where σ is denormal; −0 at −Inf.
	SiLU Unary
	// SiLUGrad is dst = dy·σ(a)·(1 + a·σ(−a)), within 3 ulp of the larger of the two terms, or 1e-43·dy below −87.
	SiLUGrad func(dst, dy, a *float32, n int)
	// GELU is a·Φ(a), Φ(a) = (1 + erf(a/√2))/2, within 1.5 units of 2⁻²³·|a|: Φ is a difference for negative a; −0 at −Inf.
	GELU Unary
	// GELUGrad is dst = dy·(Φ(a) + a·φ(a)), φ the density of the normal law, within 2.5 units of 2⁻²³·dy.
	GELUGrad func(dst, dy, a *float32, n int)
	// QuickGELU is a·σ(1.702·a) within 3 ulp times 1 + |a|, for the argument of σ is rounded; −0 at −Inf.
	QuickGELU Unary
	// QuickGELUGrad is dst = dy·σ(z)·(1 + z·σ(−z)) for z = 1.702·a, within 4 units of 2⁻²³·dy.
	QuickGELUGrad func(dst, dy, a *float32, n int)

	// The sums run over a fixed number of lanes that are added at the end, so that a result depends on n and the
	// instruction set only.
	Sum, SumSquares Reduction
	Dot             func(a, b *float32, n int) float32
	// MaxReduce and MinReduce are NaN if any value is; the sign of a zero is not defined.
	MaxReduce, MinReduce Reduction
	// ExpSum is dst[i] = exp(a[i] − s); it returns Σ dst[i].
	ExpSum func(dst, a *float32, s float32, n int) float32
	// SoftmaxGrad is dst = y·(dy − s); for softmax s = Σ dy·y.
	SoftmaxGrad func(dst, dy, y *float32, s float32, n int)

	// The following loops run over a matrix of the given rows and n columns; stride is the distance between the first
	// values of two rows. Operands with no row index are vectors of n values, one for each column.

	// AccumulateRows is dst[j] += Σ_i a[i·stride + j].
	AccumulateRows func(dst, a *float32, n, rows, stride int)
	// Moments is sum[j] += Σ_i (x_ij − shift[j]) and squares[j] += Σ_i (x_ij − shift[j])².
	Moments func(sum, squares, x, shift *float32, n, rows, stride int)
	// AffineRows is y_ij = x_ij·scale[j] + shift[j].
	AffineRows func(y, x, scale, shift *float32, n, rows, stride int)
	// AffineSiLURows is y_ij = SiLU(x_ij·scale[j] + shift[j]).
	AffineSiLURows func(y, x, scale, shift *float32, n, rows, stride int)
	// GradMoments is sum[j] += Σ_i dy_ij and dot[j] += Σ_i dy_ij·(x_ij − center[j]).
	GradMoments func(sum, dot, dy, x, center *float32, n, rows, stride int)
	// SiLUGradMoments is dz_ij = dy_ij·SiLU'(x_ij·scale[j] + shift[j]), and GradMoments of dz.
	SiLUGradMoments func(dz, sum, dot, dy, x, scale, shift, center *float32, n, rows, stride int)
	// AffineSumRows is dx_ij = dz_ij·p[j] + x_ij·q[j] + r[j].
	AffineSumRows func(dx, dz, x, p, q, r *float32, n, rows, stride int)

	// AdamW is a step of the optimiser over n parameters:
	//
	//	g = GradScale·grad,  m1 = β₁·m + (1−β₁)·g,  v1 = β₂·v + (1−β₂)·g²,
	//	p1 = p − Rate·(m1·Fix1/(√(v1·Fix2) + ε) + Decay·p).
	AdamW func(p1, m1, v1, p, grad, m, v *float32, coefficients *AdamW, n int)
}

// AdamW holds the scalars of [Vec.AdamW] in the order in which the assembly reads them.
type AdamW struct {
	Rate, GradScale, Fix1, Fix2, Epsilon, Decay float32
	Beta1, OneMinusBeta1, Beta2, OneMinusBeta2  float32
}
