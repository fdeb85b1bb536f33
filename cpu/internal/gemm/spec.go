// Package gemm multiplies matrices, and holds what convolutions share with that: how the right factor is packed, and how a
// product over rows that are found by pointers is divided into parts.
//
// A result does not depend on the number of workers: parts and the order of every sum follow from the shapes and the
// instruction set alone.
package gemm

import "fmt"

// Spec describes a product C = op(A)·op(B) of matrices in row-major order, where op(A) is M×K and op(B) is K×N.
//
// A is stored as M rows of K floats, or as K rows of M if TransA is set; B likewise as K×N, or N×K if TransB is set. LDA,
// LDB and LDC are the distances of the rows in floats, 0 for adjacent ones.
//
// Batch lists the axes along which the product is repeated, the outermost first; none means one product. An axis of size
// 0 makes an empty result. A distance of 0 in A or B repeats that factor.
type Spec struct {
	M, N, K       int
	TransA        bool
	TransB        bool
	LDA, LDB, LDC int
	Batch         []Axis
}

// Axis is one batch axis: its size, and the distances in floats between one product's matrices and the next one's.
type Axis struct{ Size, A, B, C int }

// check replaces the defaults and returns an error that names what is wrong.
func (s *Spec) check() error {
	for _, d := range []struct {
		name  string
		value int
	}{{"M", s.M}, {"N", s.N}, {"K", s.K}} {
		if d.value < 0 {
			return fmt.Errorf("gemm: %s is %d, expected a size ≥ 0", d.name, d.value)
		}
	}
	rows := func(name string, ld *int, rows, columns int) error {
		if *ld == 0 {
			*ld = columns
		}
		if rows > 1 && *ld < columns {
			return fmt.Errorf("gemm: %s is %d, expected at least %d, the length of a row", name, *ld, columns)
		}
		return nil
	}
	aRows, aColumns, bRows, bColumns := s.M, s.K, s.K, s.N
	if s.TransA {
		aRows, aColumns = s.K, s.M
	}
	if s.TransB {
		bRows, bColumns = s.N, s.K
	}
	if err := rows("LDA", &s.LDA, aRows, aColumns); err != nil {
		return err
	}
	if err := rows("LDB", &s.LDB, bRows, bColumns); err != nil {
		return err
	}
	if err := rows("LDC", &s.LDC, s.M, s.N); err != nil {
		return err
	}
	for i, axis := range s.Batch {
		if axis.Size < 0 || axis.A < 0 || axis.B < 0 || axis.C < 0 {
			return fmt.Errorf("gemm: batch axis %d is %+v, expected sizes and distances ≥ 0", i, axis)
		}
		if axis.Size > 1 && axis.C == 0 && s.M > 0 && s.N > 0 {
			return fmt.Errorf("gemm: batch axis %d of size %d has distance 0 in C: its products would overwrite each other", i, axis.Size)
		}
	}
	return nil
}

// batches returns how many products there are.
func (s *Spec) batches() int {
	n := 1
	for _, axis := range s.Batch {
		n *= axis.Size
	}
	return n
}

// origin returns where the matrices of a product begin.
func (s *Spec) origin(batch int) (a, b, c int) {
	for i := len(s.Batch) - 1; i >= 0; i-- {
		axis := s.Batch[i]
		at := batch % axis.Size
		batch /= axis.Size
		a, b, c = a+at*axis.A, b+at*axis.B, c+at*axis.C
	}
	if s.K == 0 { // there is nothing to read, and the factors may be empty
		return 0, 0, c
	}
	return a, b, c
}
