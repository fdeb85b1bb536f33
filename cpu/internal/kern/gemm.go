package kern

import "unsafe"

//go:generate go run -C ../asmgen . -kernels gemm -out ../kern/gemm_amd64.s -stubs ../kern/gemm_stub_amd64.go -pkg kern

// Gemm holds the kernels of matrix products and of convolutions. All strides count floats.
//
// A tile of C has MR rows and NR columns ([Gemm.Tile]) or OR rows and NR columns ([Gemm.Outer]); the Half variants do the
// first NR/2 columns only. Kernels always compute whole tiles: the caller sends what lies beyond the edge of a matrix into
// scratch memory.
type Gemm struct {
	MR, NR, OR int

	// Tile sets, for i < MR and j < NR,
	//
	//	C[i,j] = Σ_t Σ_k A_ti[k]·B[t·kc+k, j] + bias[j] + add[i,j]   (t < taps, k < kc)
	//
	// A_ti, the pointer a[t·MR+i], is a row of kc adjacent floats: A is read where it lies, and the rows need no common
	// stride. B has rows of stride ldb (NR when packed), C has ldc, add has ldadd. bias and add may be nil; add may be c,
	// which accumulates; without terms, a and b may be nil. The sum is formed in one accumulator per element, from zero, in the order of t and k.
	Tile, Half func(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias *float32)

	// Stream is Tile, and asks the memory for a cache line from next on with every step of k: the rows of the next tile, if
	// rows are adjacent.
	Stream func(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias, next *float32)

	// Outer sets, for i < OR and j < NR,
	//
	//	C[i,j] = Σ_p x[at[2p]+i]·y[at[2p+1]+j] (+ C[i,j] if add ≠ 0)   (p < n)
	//
	// a sum of outer products of short rows of x and y, each found by its offset: the form of a product AᵀB.
	Outer, OuterHalf func(n int, at *int32, x, y, c *float32, ldc, add int)

	// Transpose sets dst[j,i] = src[i,j] for i < NR/2 and j < blocks·NR/2, with row strides lds and ldd.
	Transpose func(blocks int, src *float32, lds int, dst *float32, ldd int)

	// Pack copies panels of NR columns: dst[j·ldd + r·NR + i] = src[r·lds + j·NR + i] for j < panels, r < rows, i < NR.
	Pack func(panels, rows int, src *float32, lds int, dst *float32, ldd int)

	// Touch asks the memory for the first cache lines, of 64 bytes, of n rows that will be read soon.
	Touch func(n int, rows **float32, lines int)
}

var genericGemm = Gemm{
	MR: genericRows, NR: 2 * genericHalf, OR: genericRows,
	Tile: genericTile, Half: genericHalfTile,
	Stream: genericStream,
	Outer:  genericOuter, OuterHalf: genericOuterHalf,
	Transpose: genericTranspose, Pack: genericPack, Touch: func(int, **float32, int) {},
}

// The portable tile is as large as 16 scalar registers allow.
const (
	genericRows = 4
	genericHalf = 4
)

func genericTile(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias *float32) {
	genericHalfTile(taps, kc, a, b, ldb, c, ldc, add, ldadd, bias)
	if add != nil {
		add = at(add, genericHalf)
	}
	if bias != nil {
		bias = at(bias, genericHalf)
	}
	if b != nil { // else there are no terms
		b = at(b, genericHalf)
	}
	genericHalfTile(taps, kc, a, b, ldb, at(c, genericHalf), ldc, add, ldadd, bias)
}

func genericHalfTile(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias *float32) {
	rows := unsafe.Slice(a, taps*genericRows)
	for i := range genericRows {
		var s0, s1, s2, s3 float32
		for t := range taps {
			if kc == 0 {
				break
			}
			row := unsafe.Slice(rows[t*genericRows+i], kc)
			for k, x := range row {
				y := (*[genericHalf]float32)(unsafe.Pointer(at(b, (t*kc+k)*ldb)))
				s0 += x * y[0]
				s1 += x * y[1]
				s2 += x * y[2]
				s3 += x * y[3]
			}
		}
		if bias != nil {
			v := (*[genericHalf]float32)(unsafe.Pointer(bias))
			s0, s1, s2, s3 = s0+v[0], s1+v[1], s2+v[2], s3+v[3]
		}
		if add != nil {
			v := (*[genericHalf]float32)(unsafe.Pointer(at(add, i*ldadd)))
			s0, s1, s2, s3 = s0+v[0], s1+v[1], s2+v[2], s3+v[3]
		}
		*(*[genericHalf]float32)(unsafe.Pointer(at(c, i*ldc))) = [genericHalf]float32{s0, s1, s2, s3}
	}
}

func genericStream(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias, _ *float32) {
	genericTile(taps, kc, a, b, ldb, c, ldc, add, ldadd, bias)
}

func genericOuter(n int, offsets *int32, x, y, c *float32, ldc, add int) {
	genericOuterHalf(n, offsets, x, y, c, ldc, add)
	genericOuterHalf(n, offsets, x, at(y, genericHalf), at(c, genericHalf), ldc, add)
}

func genericOuterHalf(n int, offsets *int32, x, y, c *float32, ldc, add int) {
	pairs := unsafe.Slice(offsets, 2*n)
	for i := range genericRows {
		var s0, s1, s2, s3 float32
		for p := range n {
			s := *at(x, int(pairs[2*p])+i)
			v := (*[genericHalf]float32)(unsafe.Pointer(at(y, int(pairs[2*p+1]))))
			s0 += s * v[0]
			s1 += s * v[1]
			s2 += s * v[2]
			s3 += s * v[3]
		}
		row := (*[genericHalf]float32)(unsafe.Pointer(at(c, i*ldc)))
		if add != 0 {
			s0, s1, s2, s3 = s0+row[0], s1+row[1], s2+row[2], s3+row[3]
		}
		*row = [genericHalf]float32{s0, s1, s2, s3}
	}
}

func genericTranspose(blocks int, src *float32, lds int, dst *float32, ldd int) {
	for i := range genericHalf {
		for j := range blocks * genericHalf {
			*at(dst, j*ldd+i) = *at(src, i*lds+j)
		}
	}
}

func genericPack(panels, rows int, src *float32, lds int, dst *float32, ldd int) {
	const width = 2 * genericHalf
	for r := range rows {
		for j := range panels {
			*(*[width]float32)(unsafe.Pointer(at(dst, j*ldd+r*width))) = *(*[width]float32)(unsafe.Pointer(at(src, r*lds+j*width)))
		}
	}
}

// at returns the address n floats after p.
func at(p *float32, n int) *float32 { return (*float32)(unsafe.Add(unsafe.Pointer(p), 4*n)) }
