package plan

import (
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"pgregory.net/rapid"
)

// check runs a property on some more cases than rapid does.
func check(t *testing.T, property func(t *rapid.T)) {
	t.Helper()
	for range 10 {
		rapid.Check(t, property)
	}
}

// array is a tensor whose elements are numbers that say where they came from.
type array struct {
	dims []int
	flat []int
}

func (a array) at(index []int) int {
	k := 0
	for i, d := range a.dims {
		k = k*d + index[i]
	}
	return a.flat[k]
}

// mapped returns the array of the given dimensions whose element at an index is that of a at from(index), or fill if from
// returns nil.
func (a array) mapped(dims []int, fill int, from func(index []int) []int) array {
	out := array{dims: dims}
	each(dims, func(index []int) {
		if i := from(index); i == nil {
			out.flat = append(out.flat, fill)
		} else {
			out.flat = append(out.flat, a.at(i))
		}
	})
	return out
}

// flat returns whole numbers that tell elements apart.
func flat(n, seed int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = (i*i*7+i*13+seed*31)%41 - 20
	}
	return out
}

// failer is a test, of rapid or not.
type failer interface {
	Fatalf(format string, args ...any)
}

// interpret runs a program on whole numbers, as the comments of the steps' types say. Parameters and constants are in
// memory; so are the results afterwards.
func interpret(t failer, p *Program, memory map[*Value][]int) {
	for _, s := range p.Steps {
		in := make([][]int, len(s.In))
		for i, v := range s.In {
			if in[i] = memory[v]; len(in[i]) != v.Size() {
				t.Fatalf("%v: operand %d is not there", kinds(p), i)
			}
		}
		optional := func(index, k int) int {
			if index == 0 {
				return 0
			}
			return in[index][k]
		}
		out := slices.Repeat([]int{-1 << 30}, s.Out[0].Size())
		switch op := s.Op.(type) {
		case *Copy:
			if op.Fill != nil {
				out = slices.Repeat([]int{in[op.Fill.Input][op.Fill.Offset]}, len(out))
			}
			for _, r := range op.Regions {
				from := offsets(r.From.Offset, r.From.Dims, r.From.Strides)
				for k, to := range offsets(r.ToOffset, r.From.Dims, r.To) {
					out[to] = in[r.From.Input][from[k]]
				}
			}
		case *Reduction:
			for k := range out {
				out[k] = 0
				for r := range op.Reduce {
					out[k] += in[0][(k/op.Inner*op.Reduce+r)*op.Inner+k%op.Inner]
				}
			}
		case *Product:
			var size, a, b, c []int
			for _, axis := range op.Batch {
				size, a, b, c = append(size, axis.Size), append(a, axis.A), append(b, axis.B), append(c, axis.C)
			}
			atA, atB := offsets(op.OffA, size, a), offsets(op.OffB, size, b)
			for batch, at := range offsets(0, size, c) {
				for m := range op.M {
					for n := range op.N {
						sum := optional(op.Bias, n) + optional(op.Residual, at+m*op.N+n)
						for k := range op.K {
							i, j := m*op.LDA+k, k*op.LDB+n
							if op.TransA {
								i = k*op.LDA + m
							}
							if op.TransB {
								j = n*op.LDB + k
							}
							sum += in[0][atA[batch]+i] * in[1][atB[batch]+j]
						}
						out[at+m*op.N+n] = sum
					}
				}
			}
		case *Convolution:
			for k := range out {
				out[k] = 0
				if op.Pass == Forward {
					out[k] = optional(op.Bias, k%op.Co) + optional(op.Residual, k)
				}
			}
			height := (op.H+op.PadTop+op.PadBottom-(op.Kh-1)*op.DilationH-1)/op.StrideH + 1
			width := (op.W+op.PadLeft+op.PadRight-(op.Kw-1)*op.DilationW-1)/op.StrideW + 1
			each([]int{op.Batch, height, width, op.Kh, op.Kw, op.Ci, op.Co}, func(i []int) {
				h, w := i[1]*op.StrideH+i[3]*op.DilationH-op.PadTop, i[2]*op.StrideW+i[4]*op.DilationW-op.PadLeft
				if h < 0 || h >= op.H || w < 0 || w >= op.W {
					return
				}
				x := ((i[0]*op.H+h)*op.W+w)*op.Ci + i[5]
				k := ((i[3]*op.Kw+i[4])*op.Ci+i[5])*op.Co + i[6]
				y := ((i[0]*height+i[1])*width+i[2])*op.Co + i[6]
				switch op.Pass {
				case Forward:
					out[y] += in[0][x] * in[1][k]
				case InputGrad:
					out[x] += in[0][y] * in[1][k]
				case KernelGrad:
					out[k] += in[0][x] * in[1][y]
				}
			})
		case *Chain:
			var results [][]int
			for _, code := range op.Code {
				args := make([][]int, len(code.Args))
				for i, ref := range code.Args {
					if ref >= 0 {
						args[i] = results[ref]
						continue
					}
					o := op.Operands[-1-ref]
					for _, at := range offsets(o.Offset, o.Dims, o.Strides) {
						args[i] = append(args[i], in[o.Input][at])
					}
				}
				y := make([]int, op.Size)
				for k := range y {
					switch code.Op {
					case compute.OpTypeAdd:
						y[k] = args[0][k] + args[1][k]
					case compute.OpTypeMul:
						y[k] = args[0][k] * args[1][k] % 1009
					case compute.OpTypeNeg:
						y[k] = -args[0][k]
					default:
						t.Fatalf("a chain with %s", code.Op)
					}
				}
				results = append(results, y)
			}
			for k, ref := range op.Results {
				memory[s.Out[k]] = results[ref]
			}
			continue
		default:
			t.Fatalf("a step of type %T", s.Op)
		}
		memory[s.Out[0]] = out
	}
}

// each calls fn for every index in row-major order.
func each(dims []int, fn func(index []int)) {
	index := make([]int, len(dims))
	for range size(dims) {
		fn(index)
		for axis := len(dims) - 1; axis >= 0; axis-- {
			if index[axis]++; index[axis] < dims[axis] {
				break
			}
			index[axis] = 0
		}
	}
}
