package plan

import (
	"slices"

	"github.com/gomlx/compute"
)

// number sets the position of every step.
func number(p *Program) {
	for i, s := range p.Steps {
		s.position = i
	}
}

// usersOf returns the steps that read each value.
func usersOf(p *Program) map[*Value][]*Step {
	number(p)
	users := map[*Value][]*Step{}
	for _, s := range p.Steps {
		for i, v := range s.In {
			if !slices.Contains(s.In[:i], v) {
				users[v] = append(users[v], s)
			}
		}
	}
	return users
}

// fuseEpilogues moves into a product or convolution what follows it: an addition of one number per output channel, an
// addition of a tensor of the same shape, a transposition of the result.
func fuseEpilogues(p *Program) {
	users := usersOf(p)
	gone := map[*Step]bool{}
	for i, s := range p.Steps {
		for s != nil && !gone[s] {
			v := s.Out[0]
			if len(users[v]) != 1 || slices.Contains(p.Outs, v) {
				break
			}
			u := users[v][0]
			if !absorb(s, u) {
				break
			}
			s.Out = u.Out
			users[s.Out[0]] = users[u.Out[0]]
			for _, in := range s.In {
				users[in] = append(slices.DeleteFunc(slices.Clone(users[in]), func(x *Step) bool { return x == u || x == s }), s)
			}
			gone[u] = true
			if _, transposition := u.Op.(*Copy); transposition {
				// It reads nothing else, so the fused step stays: a gradient of weights would otherwise keep its operands
				// until the optimiser asks for it.
				p.Steps[u.position] = nil
				continue
			}
			// The fused step runs where the second one did: everything that it reads is there by then.
			p.Steps[i], p.Steps[u.position] = nil, s
			i, s.position = u.position, u.position
		}
	}
	p.Steps = slices.DeleteFunc(p.Steps, func(s *Step) bool { return s == nil })
	number(p)
}

// absorb changes s so that it computes what u makes of its result, if it can.
func absorb(s, u *Step) bool {
	var bias, residual *int
	var channels int
	switch op := s.Op.(type) {
	case *Product:
		if c, ok := u.Op.(*Copy); ok && op.Bias == 0 && op.Residual == 0 && len(op.Batch) == 0 && !is16(s.In[1].DType) && c.transposes(op.M, op.N) {
			op.M, op.N = op.N, op.M
			op.TransA, op.TransB = !op.TransB, !op.TransA
			op.OffA, op.OffB = op.OffB, op.OffA
			op.LDA, op.LDB = op.LDB, op.LDA
			s.In[0], s.In[1] = s.In[1], s.In[0]
			return true
		}
		bias, residual, channels = &op.Bias, &op.Residual, op.N
	case *Convolution:
		if op.Pass != Forward {
			return false
		}
		bias, residual, channels = &op.Bias, &op.Residual, op.Co
	default:
		return false
	}
	c, ok := u.Op.(*Chain)
	if !ok || len(c.Code) != 1 || c.Code[0].Op != compute.OpTypeAdd {
		return false
	}
	v := s.Out[0]
	a, b := c.Operands[0], c.Operands[1]
	if u.In[a.Input] != v {
		a, b = b, a
	}
	w := u.In[b.Input]
	if u.In[a.Input] != v || w == v || !a.whole(v) {
		return false
	}
	dims, strides := Collapse(b.Dims, b.Strides)
	switch {
	case *bias == 0 && *residual == 0 && b.Offset == 0 && w.Size() == channels &&
		(len(dims) == 2 && dims[1] == channels && same(strides[0], []int{0, 1}) || len(dims) == 1 && dims[0] == channels && strides[0][0] == 1 && c.Size == channels):
		*bias = len(s.In)
	case *residual == 0 && b.whole(w):
		*residual = len(s.In)
	default:
		return false
	}
	s.In = append(s.In, w)
	return true
}

// transposes reports whether the copy is the transposition of an m×n matrix and nothing else.
func (c *Copy) transposes(m, n int) bool {
	if c.Fill != nil || len(c.Regions) != 1 || m == 1 || n == 1 {
		return false
	}
	r := c.Regions[0]
	dims, strides := Collapse(r.From.Dims, r.From.Strides, r.To)
	return r.From.Offset == 0 && r.ToOffset == 0 && same(dims, []int{n, m}) && same(strides[0], []int{1, n}) && same(strides[1], []int{m, 1})
}
