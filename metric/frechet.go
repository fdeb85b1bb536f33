package metric

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/stat"
)

// FrechetDistance returns the squared Fréchet distance between the feature vectors x, [n, dim], and y, [m, dim], each
// taken for a sample of a Gaussian law with its mean μ and covariance Σ (divisor n−1):
//
//	d² = |μx − μy|² + tr Σx + tr Σy − 2 tr (Σx^½ Σy Σx^½)^½
//
// (Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982; Fréchet inception distance
// with the features of Heusel et al., "GANs trained by a two time-scale update rule", 2017.) It is the squared
// 2-Wasserstein distance of the two Gaussians, and sees nothing of the laws beyond their first two moments.
//
// It is biased upward, the more so the fewer the vectors and the more their dimensions: two samples of one Gaussian law are
// at a distance of about (1/n + 1/m)·(tr Σ + ½Σ_ij (1+δ_ij)·λ_iλ_j/(λ_i+λ_j)) with the eigenvalues λ of Σ, for n ≫ dim; the
// first part is of the means, the second, of the covariances, dim/4 times as large for Σ = I. For n < dim, where a covariance
// has rank n−1, it is far more. So compare only distances of equal n and m, and with the floor, the distance between two real
// samples of these sizes.
//
// Fewer than two vectors have no covariance: NaN, as for a vector that is not finite.
func FrechetDistance(x, y []float32, dim int) float64 {
	n, m := rows("FrechetDistance", x, dim), rows("FrechetDistance", y, dim)
	if n < 2 || m < 2 {
		return math.NaN()
	}
	a, b := widen(x), widen(y)
	// Sums of finite float32 cannot overflow float64, so one look finds everything that is not finite.
	if s := floats.Sum(a) + floats.Sum(b); math.IsNaN(s) || math.IsInf(s, 0) {
		return math.NaN()
	}
	meanX, covX := moments(a, dim)
	meanY, covY := moments(b, dim)
	return frechet(meanX, covX, meanY, covY)
}

// moments returns the mean and the covariance of the rows of x.
func moments(x []float64, dim int) ([]float64, *mat.SymDense) {
	m := mat.NewDense(len(x)/dim, dim, x)
	mean := make([]float64, dim)
	for i := range m.RawMatrix().Rows {
		floats.Add(mean, m.RawRowView(i))
	}
	floats.Scale(1/float64(len(x)/dim), mean)
	var cov mat.SymDense
	stat.CovarianceMatrix(&cov, m, nil)
	return mean, &cov
}

// frechet returns the squared Fréchet distance of two Gaussians.
func frechet(meanX []float64, covX *mat.SymDense, meanY []float64, covY *mat.SymDense) float64 {
	values, vectors := eigen(covX)
	// Σx^½ = V diag(√λ) Vᵀ. With W = V diag(√λ), WᵀΣyW = VᵀΣx^½ Σy Σx^½V has the eigenvalues that are wanted.
	var w, product mat.Dense
	w.Apply(func(_, j int, v float64) float64 { return v * math.Sqrt(values[j]) }, vectors)
	product.Mul(covY, &w)
	product.Mul(w.T(), &product)
	dim := len(values)
	between := mat.NewSymDense(dim, nil)
	for i := range dim {
		for j := range i + 1 {
			between.SetSym(i, j, (product.At(i, j)+product.At(j, i))/2)
		}
	}
	roots, _ := eigen(between)
	d := mat.Trace(covX) + mat.Trace(covY)
	for i := range dim {
		d -= 2 * math.Sqrt(roots[i])
		d += (meanX[i] - meanY[i]) * (meanX[i] - meanY[i])
	}
	return max(0, d) // below 0 by rounding only
}

// eigen returns the eigenvalues and eigenvectors of a covariance. Eigenvalues below 0 come from rounding, and are 0.
func eigen(s *mat.SymDense) ([]float64, *mat.Dense) {
	var e mat.EigenSym
	if !e.Factorize(s, true) {
		panic("metric.FrechetDistance: eigenvalues of a finite symmetric matrix do not converge")
	}
	values := e.Values(nil)
	for i := range values {
		values[i] = max(0, values[i])
	}
	var vectors mat.Dense
	e.VectorsTo(&vectors)
	return values, &vectors
}
