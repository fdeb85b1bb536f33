// Package gmm holds Gaussian mixtures in closed form. They are the project's ground truth: under the VP diffusion a
// mixture stays a mixture, and the product of two mixtures is a mixture, so with a mixture as prior and a mixture
// log-likelihood as reward the tilted law, its normaliser, its score at every noise level and Doob's h-transform are
// all exact.
//
// Host functions work in float64 and are the oracle; the graph functions beside them (graph.go) are what the samplers
// run, checked against the host.
package gmm

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/doob-diffusion/doob/noise"
)

// ErrInvalid says that weights, means or covariances do not make a Gaussian mixture.
var ErrInvalid = errors.New("invalid Gaussian mixture")

// Mixture is Σ_i w_i N(m_i, S_i) in Dim dimensions. It is immutable: make one with [New].
type Mixture struct {
	weights []float64   // positive, sum 1
	means   [][]float64 // [component][dim]
	covs    []*mat.SymDense
	vectors []*mat.Dense // columns: eigenvectors U_i of S_i
	values  [][]float64  // eigenvalues λ_i of S_i, all positive
}

// New returns the mixture of the given components. Weights need not sum to one; covariances are full, symmetric and
// positive definite. Errors wrap [ErrInvalid].
func New(weights []float64, means [][]float64, covs [][][]float64) (*Mixture, error) {
	if len(weights) == 0 || len(means) != len(weights) || len(covs) != len(weights) {
		return nil, fmt.Errorf("gmm: %w: %d weights, %d means and %d covariances; want the same number, at least 1",
			ErrInvalid, len(weights), len(means), len(covs))
	}
	dim := len(means[0])
	syms := make([]*mat.SymDense, len(covs))
	for i, c := range covs {
		if len(means[i]) != dim || dim == 0 || len(c) != dim {
			return nil, fmt.Errorf("gmm: %w: component %d has a mean of %d and a covariance of %d rows, component 0 a mean of %d",
				ErrInvalid, i, len(means[i]), len(c), dim)
		}
		syms[i] = mat.NewSymDense(dim, nil)
		for a := range dim {
			if len(c[a]) != dim {
				return nil, fmt.Errorf("gmm: %w: covariance %d, row %d has %d numbers, want %d", ErrInvalid, i, a, len(c[a]), dim)
			}
			for b := range a + 1 {
				if math.Abs(c[a][b]-c[b][a]) > 1e-9*(math.Abs(c[a][a])+math.Abs(c[b][b])) {
					return nil, fmt.Errorf("gmm: %w: covariance %d is not symmetric at [%d][%d]", ErrInvalid, i, a, b)
				}
				syms[i].SetSym(a, b, c[a][b])
			}
		}
	}
	return build(weights, means, syms)
}

// Isotropic returns the mixture whose components all have covariance sd²·I.
func Isotropic(weights []float64, means [][]float64, sd float64) (*Mixture, error) {
	covs := make([][][]float64, len(means))
	for i, m := range means {
		covs[i] = make([][]float64, len(m))
		for a := range m {
			covs[i][a] = make([]float64, len(m))
			covs[i][a][a] = sd * sd
		}
	}
	return New(weights, means, covs)
}

func build(weights []float64, means [][]float64, covs []*mat.SymDense) (*Mixture, error) {
	total := floats.Sum(weights)
	m := &Mixture{weights: make([]float64, len(weights)), means: means, covs: covs,
		vectors: make([]*mat.Dense, len(covs)), values: make([][]float64, len(covs))}
	for i, w := range weights {
		m.weights[i] = w / total
		if !(w > 0) || math.IsInf(total, 0) {
			return nil, fmt.Errorf("gmm: %w: weight %d is %g, want a positive number", ErrInvalid, i, w)
		}
		for a, v := range means[i] {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return nil, fmt.Errorf("gmm: %w: mean %d has %g at [%d]", ErrInvalid, i, v, a)
			}
		}
		var eig mat.EigenSym
		if !eig.Factorize(covs[i], true) {
			return nil, fmt.Errorf("gmm: %w: covariance %d has no eigendecomposition", ErrInvalid, i)
		}
		m.values[i] = eig.Values(nil)
		if !(floats.Min(m.values[i]) > 0) {
			return nil, fmt.Errorf("gmm: %w: covariance %d is not positive definite: smallest eigenvalue %g",
				ErrInvalid, i, floats.Min(m.values[i]))
		}
		m.vectors[i] = new(mat.Dense)
		eig.VectorsTo(m.vectors[i])
	}
	return m, nil
}

// Dim returns the dimension of the space.
func (m *Mixture) Dim() int { return len(m.means[0]) }

// Weights returns the component weights, which sum to one.
func (m *Mixture) Weights() []float64 { return m.weights }

// Means returns the component means, [component][dim].
func (m *Mixture) Means() [][]float64 { return m.means }

// Component returns the i-th component as a distribution of its own.
func (m *Mixture) Component(i int) *Mixture {
	return &Mixture{weights: []float64{1}, means: m.means[i : i+1], covs: m.covs[i : i+1],
		vectors: m.vectors[i : i+1], values: m.values[i : i+1]}
}

// LogDensity returns log Σ_i w_i N(x; m_i, S_i).
func (m *Mixture) LogDensity(x []float64) float64 {
	return floats.LogSumExp(m.logJoint(x, nil))
}

// logJoint returns log w_i + log N(x; m_i, S_i) for every i and adds S_i⁻¹(m_i − x) to pull[i] if pull is not nil.
func (m *Mixture) logJoint(x []float64, pull [][]float64) []float64 {
	dim := m.Dim()
	out := make([]float64, len(m.weights))
	for i, w := range m.weights {
		lp := math.Log(w) - 0.5*float64(dim)*math.Log(2*math.Pi)
		for e, λ := range m.values[i] {
			var y float64
			for a := range dim {
				y += m.vectors[i].At(a, e) * (x[a] - m.means[i][a])
			}
			lp -= 0.5 * (y*y/λ + math.Log(λ))
			if pull != nil {
				for a := range dim {
					pull[i][a] -= m.vectors[i].At(a, e) * y / λ
				}
			}
		}
		out[i] = lp
	}
	return out
}

// Score returns ∇ₓ log p(x).
func (m *Mixture) Score(x []float64) []float64 {
	pull := make([][]float64, len(m.weights))
	for i := range pull {
		pull[i] = make([]float64, m.Dim())
	}
	joint := m.logJoint(x, pull)
	norm := floats.LogSumExp(joint)
	score := make([]float64, m.Dim())
	for i, lj := range joint {
		floats.AddScaled(score, math.Exp(lj-norm), pull[i])
	}
	return score
}

// Sample returns n independent draws, row-major [n, dim]. Draw i depends on the key and i only.
func (m *Mixture) Sample(n int, key noise.Key) []float32 {
	dim := m.Dim()
	out, z := make([]float32, n*dim), make([]float32, dim)
	pick, normal := key.Sub("component"), key.Sub("normal")
	for p := range n {
		u, i := pick.Uniform(uint64(p), 0), 0
		for ; i < len(m.weights)-1 && u >= m.weights[i]; i++ {
			u -= m.weights[i]
		}
		normal.Normal(z, uint64(p), 0)
		for a := range dim {
			v := m.means[i][a]
			for e, λ := range m.values[i] {
				v += m.vectors[i].At(a, e) * math.Sqrt(λ) * float64(z[e])
			}
			out[p*dim+a] = float32(v)
		}
	}
	return out
}

// Diffuse returns the law of γX + νε for X of this mixture and ε ~ N(0, I): Σ w_i N(γm_i, γ²S_i + ν²I).
func (m *Mixture) Diffuse(gamma, nu float64) *Mixture {
	dim := m.Dim()
	out := &Mixture{weights: m.weights, vectors: m.vectors, means: make([][]float64, len(m.weights)),
		covs: make([]*mat.SymDense, len(m.weights)), values: make([][]float64, len(m.weights))}
	for i := range m.weights {
		out.means[i] = make([]float64, dim)
		floats.ScaleTo(out.means[i], gamma, m.means[i])
		out.values[i] = make([]float64, dim)
		out.covs[i] = mat.NewSymDense(dim, nil)
		for a := range dim {
			out.values[i][a] = gamma*gamma*m.values[i][a] + nu*nu
			for b := range a + 1 {
				out.covs[i].SetSym(a, b, gamma*gamma*m.covs[i].At(a, b))
			}
			out.covs[i].SetSym(a, a, out.covs[i].At(a, a)+nu*nu)
		}
	}
	return out
}

// Times returns the normalised product of the densities of m and other, and the log of its normaliser
// log ∫ m(x)·other(x) dx. With other = exp(r) this is the tilted law (1) and log Z:
//
//	w_ij ∝ π_i ρ_j N(m_i; n_j, S_i+T_j),  cov_ij = S_i − S_i(S_i+T_j)⁻¹S_i,  mean_ij = m_i + S_i(S_i+T_j)⁻¹(n_j − m_i)
func (m *Mixture) Times(other *Mixture) (*Mixture, float64, error) {
	dim := m.Dim()
	if other.Dim() != dim {
		return nil, 0, fmt.Errorf("gmm: %w: product of dimension %d with dimension %d", ErrInvalid, dim, other.Dim())
	}
	var logW []float64
	var means [][]float64
	var covs []*mat.SymDense
	for i := range m.weights {
		for j := range other.weights {
			sum := mat.NewSymDense(dim, nil)
			sum.AddSym(m.covs[i], other.covs[j])
			var chol mat.Cholesky
			if !chol.Factorize(sum) {
				return nil, 0, fmt.Errorf("gmm: %w: sum of covariances %d and %d is singular", ErrInvalid, i, j)
			}
			diff := mat.NewVecDense(dim, nil)
			diff.SubVec(mat.NewVecDense(dim, other.means[j]), mat.NewVecDense(dim, m.means[i]))
			var solved mat.VecDense
			if err := chol.SolveVecTo(&solved, diff); err != nil {
				return nil, 0, fmt.Errorf("gmm: %w: components %d and %d: %w", ErrInvalid, i, j, err)
			}
			logW = append(logW, math.Log(m.weights[i])+math.Log(other.weights[j])-
				0.5*(float64(dim)*math.Log(2*math.Pi)+chol.LogDet()+mat.Dot(diff, &solved)))

			mean := mat.NewVecDense(dim, append([]float64(nil), m.means[i]...))
			var shift mat.VecDense
			shift.MulVec(m.covs[i], &solved)
			mean.AddVec(mean, &shift)
			means = append(means, mean.RawVector().Data)

			var gain, reduce mat.Dense
			if err := chol.SolveTo(&gain, m.covs[i]); err != nil {
				return nil, 0, fmt.Errorf("gmm: %w: components %d and %d: %w", ErrInvalid, i, j, err)
			}
			reduce.Mul(m.covs[i], &gain)
			cov := mat.NewSymDense(dim, nil)
			for a := range dim {
				for b := range a + 1 {
					cov.SetSym(a, b, m.covs[i].At(a, b)-0.5*(reduce.At(a, b)+reduce.At(b, a)))
				}
			}
			covs = append(covs, cov)
		}
	}
	logZ := floats.LogSumExp(logW)
	weights := make([]float64, len(logW))
	for i, lw := range logW {
		// A component that far out of reach would underflow to a weight of zero, which New rightly refuses.
		weights[i] = math.Exp(math.Max(lw-logZ, -700))
	}
	out, err := build(weights, means, covs)
	return out, logZ, err
}

// Mean returns the mean of the mixture.
func (m *Mixture) Mean() []float64 {
	mean := make([]float64, m.Dim())
	for i, w := range m.weights {
		floats.AddScaled(mean, w, m.means[i])
	}
	return mean
}
