package vec

// The gradient, with z = n·scale + bias, n = (x − μ)/√(σ² + ε), dz = dy·f'(z) and sums over the N values of a group:
//
//	dbias = Σ dz,  dscale = Σ dz·n,
//	dx = (scale·dz − Σ scale·dz/N − n·Σ scale·dz·n/N)/√(σ² + ε).
//
// dx = dz·p + x·q + r for coefficients by channel.

// gradMomentsOf forms the sums of dz and dz·(x − center) over a block. With SiLU it leaves dz in dx.
func (g *GroupNorm) gradMomentsOf(image, block, worker int, s *normState) {
	channels, vec := g.spec.Channels, &g.ctx.Vec
	sum, dot, _ := g.sums(worker)
	g.tiles(image, block, func(at, n, rows int) {
		if g.spec.SiLU {
			vec.SiLUGradMoments(&g.dx[at], &sum[0], &dot[0], &g.dy[at], &g.x[at], &s.a[0], &s.b[0], &s.center[0], n, rows, n)
		} else {
			vec.GradMoments(&sum[0], &dot[0], &g.dy[at], &g.x[at], &s.center[0], n, rows, n)
		}
	})
	partial := s.partial[2*block*channels:]
	g.fold(partial[:channels], sum)
	g.fold(partial[channels:2*channels], dot)
}

// gradTotalOf turns the sums of an image into the coefficients of dx, and the image's shares of dscale and dbias.
func (g *GroupNorm) gradTotalOf(image int, s *normState) {
	sum, dot := g.total(s)
	channels, count := g.spec.Channels, float64(g.spec.Spatial)
	dscale, dbias, scale := g.dscaleOf[image*channels:], g.dbiasOf[image*channels:], g.of(image, g.scale)
	for group, rstd := range s.rstd {
		first, last := span(group, g.width, channels)
		var mean, slope float64 // Σ scale·dz/N and Σ scale·dz·n/N
		for c := first; c < last; c++ {
			dot[c] *= rstd
			mean += float64(scale[c]) * sum[c]
			slope += float64(scale[c]) * dot[c]
			dscale[c], dbias[c] = float32(dot[c]), float32(sum[c])
		}
		mean /= count * float64(g.width)
		slope /= count * float64(g.width)
		p, q := rstd, -rstd*rstd*slope
		for c := first; c < last; c++ {
			s.p[c], s.q[c] = float32(p*float64(scale[c])), float32(q)
			s.r[c] = float32(-rstd*mean - q*float64(s.center[c]))
		}
	}
	g.spread(s.p, s.q, s.r)
}

func (g *GroupNorm) gradApplyOf(image, block int, s *normState) {
	kernel, dz := g.ctx.Vec.AffineSumRows, g.dy
	if g.spec.SiLU {
		dz = g.dx
	}
	g.tiles(image, block, func(at, n, rows int) {
		kernel(&g.dx[at], &dz[at], &g.x[at], &s.p[0], &s.q[0], &s.r[0], n, rows, n)
	})
}
