package diffusion

// Variance says how much noise the steps of [DDPM] and [DDIM] add. Their mean is that of X_Next given X_T = x and X_0 = x̂₀(x); with
// λ² the variance of this law and K the mean's coefficient of ε,
//
//	Cov(X_Next | X_T = x) = λ²·I + K²·Cov(ε | X_T = x),  K = √(σ'²−λ²) − α'/α·σ
//
// and the mean over coordinates and over x of the last term's diagonal is K²·u, where ε_θ = E[ε | X_T]. So the variance that is best among
// those without direction is (Bao, Li, Zhu, Zhang 2022, Theorem 1)
//
//	s² = λ² + K²·u(T),  u(t) = E‖ε − ε_θ(X_t,t)‖²/d = 1 − E‖ε_θ(X_t,t)‖²/d
//
// The kinds of variance differ in the data that they take u from. Path weights are exact for any of them.
type Variance interface {
	// Unexplained returns u(t), from 0 to 1: the share of the noise in X_t that is not known from X_t.
	Unexplained(p Process, t float64) float64
}

// Posterior is the smallest variance, s² = λ²: right if all data are one point, u = 0. Other data lose variance at few steps.
type Posterior struct{}

// Beta is the variance that is right for data N(0, I): u = α²/(α²+σ²). In [DDPM] with the variance-preserving process s² = β then, in the
// terms of its discretisation, and in any process s² = v·(α'²+σ'²)/(α²+σ²). Data of less variance keep noise.
type Beta struct{}

var (
	_ Variance = Posterior{}
	_ Variance = Beta{}
	_ Variance = (*Analytic)(nil)
)

// Unexplained implements [Variance].
func (Posterior) Unexplained(Process, float64) float64 { return 0 }

// Unexplained implements [Variance].
func (Beta) Unexplained(p Process, t float64) float64 {
	alpha2, sigma2 := square(p.Alpha(t)), square(p.Sigma(t))
	return alpha2 / (alpha2 + sigma2)
}

// orPosterior returns the variance that is meant where it may be nil.
func orPosterior(v Variance) Variance {
	if v == nil {
		return Posterior{}
	}
	return v
}
