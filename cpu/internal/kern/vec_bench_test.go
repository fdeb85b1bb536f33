package kern

import "testing"

// BenchmarkVec runs the kernels on values in L1; the rate counts the bytes read and written.
func BenchmarkVec(b *testing.B) {
	const n, columns = 2048, 64
	x, y, dst, mask := Aligned(n), Aligned(n), Aligned(n), Aligned(n)
	m, v := Aligned(n), Aligned(n)
	for i := range x {
		x[i], y[i], mask[i] = float32(i%97)/10-4, float32(i%31)/10+0.1, float32(i%2)
	}
	var c [8][]float32
	for i := range c {
		c[i] = Aligned(columns)
	}
	coefficients := AdamW{Rate: 0.01, GradScale: 1, Fix1: 1, Fix2: 1, Epsilon: 1e-8, Decay: 0.01, Beta1: 0.9, OneMinusBeta1: 0.1, Beta2: 0.999, OneMinusBeta2: 0.001}
	runs := []struct {
		name   string
		arrays int
		run    func(k *Vec)
	}{
		{"Add", 3, func(k *Vec) { k.Add(&dst[0], &x[0], &y[0], n) }},
		{"Max", 3, func(k *Vec) { k.Max(&dst[0], &x[0], &y[0], n) }},
		{"MulS", 2, func(k *Vec) { k.MulS(&dst[0], &x[0], 2, n) }},
		{"Div", 3, func(k *Vec) { k.Div(&dst[0], &x[0], &y[0], n) }},
		{"Select", 4, func(k *Vec) { k.Select(&dst[0], &mask[0], &x[0], &y[0], n) }},
		{"Sqrt", 2, func(k *Vec) { k.Sqrt(&dst[0], &y[0], n) }},
		{"Rsqrt", 2, func(k *Vec) { k.Rsqrt(&dst[0], &y[0], n) }},
		{"Exp", 2, func(k *Vec) { k.Exp(&dst[0], &x[0], n) }},
		{"Log", 2, func(k *Vec) { k.Log(&dst[0], &y[0], n) }},
		{"Tanh", 2, func(k *Vec) { k.Tanh(&dst[0], &x[0], n) }},
		{"Sin", 2, func(k *Vec) { k.Sin(&dst[0], &x[0], n) }},
		{"Erf", 2, func(k *Vec) { k.Erf(&dst[0], &x[0], n) }},
		{"Logistic", 2, func(k *Vec) { k.Logistic(&dst[0], &x[0], n) }},
		{"SiLU", 2, func(k *Vec) { k.SiLU(&dst[0], &x[0], n) }},
		{"SiLUGrad", 3, func(k *Vec) { k.SiLUGrad(&dst[0], &y[0], &x[0], n) }},
		{"Sum", 1, func(k *Vec) { k.Sum(&x[0], n) }},
		{"Dot", 2, func(k *Vec) { k.Dot(&x[0], &y[0], n) }},
		{"MaxReduce", 1, func(k *Vec) { k.MaxReduce(&x[0], n) }},
		{"ExpSum", 2, func(k *Vec) { k.ExpSum(&dst[0], &x[0], 4, n) }},
		{"AccumulateRows", 1, func(k *Vec) { k.AccumulateRows(&c[0][0], &x[0], columns, n/columns, columns) }},
		{"Moments", 1, func(k *Vec) { k.Moments(&c[0][0], &c[1][0], &x[0], &c[2][0], columns, n/columns, columns) }},
		{"AffineRows", 2, func(k *Vec) { k.AffineRows(&dst[0], &x[0], &c[3][0], &c[4][0], columns, n/columns, columns) }},
		{"AffineSiLURows", 2, func(k *Vec) { k.AffineSiLURows(&dst[0], &x[0], &c[3][0], &c[4][0], columns, n/columns, columns) }},
		{"GradMoments", 2, func(k *Vec) {
			k.GradMoments(&c[0][0], &c[1][0], &y[0], &x[0], &c[2][0], columns, n/columns, columns)
		}},
		{"SiLUGradMoments", 3, func(k *Vec) {
			k.SiLUGradMoments(&dst[0], &c[0][0], &c[1][0], &y[0], &x[0], &c[3][0], &c[4][0], &c[2][0], columns, n/columns, columns)
		}},
		{"AffineSumRows", 3, func(k *Vec) {
			k.AffineSumRows(&dst[0], &y[0], &x[0], &c[3][0], &c[4][0], &c[2][0], columns, n/columns, columns)
		}},
		{"AdamW", 7, func(k *Vec) { k.AdamW(&dst[0], &m[0], &v[0], &x[0], &y[0], &m[0], &v[0], &coefficients, n) }},
	}
	for _, table := range Tables() {
		for _, r := range runs {
			b.Run(r.name+"/"+table.Name, func(b *testing.B) {
				b.SetBytes(int64(4 * n * r.arrays))
				for b.Loop() {
					r.run(&table.Vec)
				}
			})
		}
	}
	b.Run("call", func(b *testing.B) {
		k := &Tables()[0].Vec
		for b.Loop() {
			k.Add(&dst[0], &x[0], &y[0], 16)
		}
	})
}
