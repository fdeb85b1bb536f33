package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"pgregory.net/rapid"
)

// machine runs the steps of a program without computing: it only keeps account of which value every byte belongs to.
type machine struct {
	failer
	layout *Layout
	arena  []*Value
	params [][]*Value
	outs   [][]*Value
}

// bytesOf returns the bytes in which a value lives, and where they are.
func (m *machine) bytesOf(v *Value) ([]*Value, string) {
	place, ok := m.layout.Places[v]
	if !ok {
		m.Fatalf("a value %v has no place", v.Dims)
	}
	n := v.Size() * v.DType.Size()
	switch place.Kind {
	case Arena:
		if place.Offset < 0 || place.Offset%64 != 0 || place.Offset+n > len(m.arena) {
			m.Fatalf("%d bytes at %d of %d in the arena", n, place.Offset, len(m.arena))
		}
		return m.arena[place.Offset:][:n], fmt.Sprint("arena+", place.Offset)
	case Param:
		if len(m.params[place.Index]) != n {
			m.Fatalf("%d bytes in a parameter of %d", n, len(m.params[place.Index]))
		}
		return m.params[place.Index], fmt.Sprint("parameter ", place.Index)
	case Out:
		if len(m.outs[place.Index]) != n {
			m.Fatalf("%d bytes in an output of %d", n, len(m.outs[place.Index]))
		}
		return m.outs[place.Index], fmt.Sprint("output ", place.Index)
	}
	if m.layout.Consts[place.Index] != v {
		m.Fatalf("constant %d is another one", place.Index)
	}
	return slices.Repeat([]*Value{v}, n), fmt.Sprint("constant ", place.Index)
}

func (m *machine) holds(v *Value, what string) {
	if have, at := m.bytesOf(v); slices.ContainsFunc(have, func(x *Value) bool { return x != v }) {
		m.Fatalf("%s: %v at %s was overwritten", what, v.Dims, at)
	}
}

// mayOverwrite says, from what the steps are documented to do, whether one may write result r in the place of operand i.
func mayOverwrite(s *Step, i, r int) bool {
	switch op := s.Op.(type) {
	case *Chain:
		return true // whether every reading is in order is checked in run
	case *Product:
		return op.Residual == i
	case Named:
		return op.Name == "adamw" && i == []int{0, 2, 3}[r] || op.Name == "ema" && i == 0
	}
	return false
}

// run executes the steps and checks every access.
func (m *machine) run(p *Program, donated []bool) {
	for k, s := range p.Steps {
		what := fmt.Sprintf("step %d, %s", k, kinds(p)[k])
		for i, v := range s.In {
			m.holds(v, fmt.Sprintf("%s, operand %d", what, i))
		}
		var written []*Value
		for r, v := range s.Out {
			area, at := m.bytesOf(v)
			if place := m.layout.Places[v]; place.Kind == Const || place.Kind == Param && !donated[place.Index] {
				m.Fatalf("%s writes to %s", what, at)
			}
			for i, u := range s.In {
				source, _ := m.bytesOf(u)
				if !overlap(area, source) || m.layout.Places[u].Kind == Const {
					continue
				}
				if &area[0] != &source[0] || len(area) != len(source) || u.DType != v.DType || !mayOverwrite(s, i, r) {
					m.Fatalf("%s: result %d at %s in the place of operand %d", what, r, at, i)
				}
				if c, ok := s.Op.(*Chain); ok {
					for _, o := range c.Operands {
						if o.Input == i && !slices.Equal(offsets(o.Offset, o.Dims, o.Strides), offsets(0, []int{u.Size()}, []int{1})) {
							m.Fatalf("%s: result %d overwrites operand %d, which is not read in order", what, r, i)
						}
					}
				}
			}
			for _, w := range written {
				if other, _ := m.bytesOf(w); overlap(area, other) {
					m.Fatalf("%s: two results at %s", what, at)
				}
			}
			written = append(written, v)
		}
		for _, v := range s.Out {
			area, _ := m.bytesOf(v)
			for i := range area {
				area[i] = v
			}
		}
	}
}

func overlap(a, b []*Value) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	// Both are parts of slices of which every byte has an address of its own.
	for i := range a {
		if &a[i] == &b[0] {
			return true
		}
	}
	for i := range b {
		if &b[i] == &a[0] {
			return true
		}
	}
	return false
}

// simulate arranges a program and runs it on the machine.
func simulate(t failer, p *Program, donated []bool) *Layout {
	l := Arrange(p, donated)
	m := &machine{failer: t, layout: l, arena: make([]*Value, l.Bytes)}
	for _, v := range p.Params {
		m.params = append(m.params, slices.Repeat([]*Value{v}, v.Size()*v.DType.Size()))
	}
	donors := map[int]bool{}
	for i, v := range p.Outs {
		n := v.Size() * v.DType.Size()
		donor := l.Donor[i]
		if donor < 0 {
			m.outs = append(m.outs, make([]*Value, n))
			continue
		}
		if !donated[donor] || donors[donor] || l.Copied[i] || len(m.params[donor]) != n || p.Params[donor].DType != v.DType {
			t.Fatalf("output %d %v gets the memory of parameter %d %v", i, v.Dims, donor, p.Params[donor].Dims)
		}
		donors[donor] = true
		m.outs = append(m.outs, m.params[donor])
	}
	m.run(p, donated)
	for i, v := range p.Outs {
		m.holds(v, fmt.Sprint("output ", i))
		if l.Copied[i] {
			copy(m.outs[i], slices.Repeat([]*Value{v}, len(m.outs[i])))
		}
	}
	for i, v := range p.Outs {
		for _, have := range m.outs[i] {
			if have != v {
				t.Fatalf("output %d does not hold its value at the end", i)
			}
		}
	}
	return l
}

// randomProgram draws a graph with operations of all kinds.
func randomProgram(t *rapid.T) *Program {
	g := &graph{}
	shapes := [][]int{{}, {1}, {4}, {3, 4}, {4, 3}, {12}, {2, 3, 4}, {1, 4}, {3, 1}, {0, 4}, {9, 4}, {4, 4}, {50}}
	values := []*Value{constant(1), constant(2, 4), constant(3, 3, 4)}
	for range rapid.IntRange(1, 5).Draw(t, "parameters") {
		values = append(values, g.param(rapid.SampledFrom(shapes).Draw(t, "shape")...))
	}
	pick := func(dims ...int) *Value {
		var fitting []*Value
		for _, v := range values {
			if len(dims) == 0 || slices.Equal(v.Dims, dims) && v.DType == dtypes.Float32 {
				fitting = append(fitting, v)
			}
		}
		if len(fitting) == 0 {
			v := g.param(dims...)
			values = append(values, v)
			return v
		}
		return rapid.SampledFrom(fitting).Draw(t, "operand")
	}
	keep := func(v ...*Value) { values = append(values, v...) }
	for range rapid.IntRange(1, 25).Draw(t, "operations") {
		x := pick()
		if x.DType != dtypes.Float32 {
			keep(g.many(compute.OpTypeLogicalNot, nil, []*Value{{DType: dtypes.Bool, Dims: x.Dims}}, x)...)
			continue
		}
		switch rapid.IntRange(0, 15).Draw(t, "operation") {
		case 0, 1, 2:
			keep(g.unary(compute.OpTypeExp, x))
		case 3, 4, 5:
			keep(g.add(x, pick(x.Dims...)))
		case 6:
			if len(x.Dims) == 2 {
				keep(g.mul(x, pick(1, x.Dims[1])))
				keep(g.mul(pick(x.Dims[0], 1), x))
			}
		case 7:
			keep(g.many(compute.OpTypeLessThan, nil, []*Value{{DType: dtypes.Bool, Dims: x.Dims}}, x, pick(x.Dims...))...)
		case 8:
			keep(g.reduce(x))
		case 9:
			if n := len(x.Dims); n > 1 {
				keep(g.transpose(x, slices.Insert([]int{n - 1}, 1, rest(n)...)...))
			}
		case 10:
			keep(g.reshape(x, x.Size()))
		case 11:
			if len(x.Dims) == 2 {
				y := g.dot(x, pick(4, x.Dims[1]), []int{1}, []int{1}, nil, nil)
				keep(y)
				if rapid.Bool().Draw(t, "residual") {
					keep(g.add(y, pick(y.Dims...)))
				}
			}
		case 12: // a scale and p, gradient, moments
			in := []*Value{pick(x.Dims...), pick(x.Dims...), pick(x.Dims...), pick(x.Dims...), constant(1), constant(2), constant(3), constant(4)}
			keep(g.many(compute.OpTypeCall, Named{Name: "adamw"}, []*Value{tensor(x.Dims...), tensor(x.Dims...), tensor(x.Dims...)}, in...)...)
		case 13:
			keep(g.node(compute.OpTypeCall, Named{Name: "ema"}, tensor(x.Dims...), x, pick(x.Dims...), constant(1)))
		case 14:
			keep(g.many(compute.OpTypeRNGBitGenerator, nil, []*Value{tensor(x.Dims...), {DType: dtypes.Int64, Dims: []int{3}}}, x)[0])
		case 15:
			if len(x.Dims) > 0 {
				dims := slices.Clone(x.Dims)
				dims[0] *= 2
				keep(g.node(compute.OpTypeConcatenate, Concatenate(0), tensor(dims...), x, pick(x.Dims...)))
			}
		}
	}
	outs := []*Value{values[len(values)-1]}
	for range rapid.IntRange(0, 4).Draw(t, "outputs") {
		outs = append(outs, pick())
	}
	return g.lower(outs...)
}

// rest returns 0 … n−2.
func rest(n int) []int {
	var out []int
	for i := range n - 1 {
		out = append(out, i)
	}
	return out
}

// Nothing is overwritten as long as it is needed, whichever parameters may be.
func TestArrange(t *testing.T) {
	inPlace, donors, shared := 0, 0, 0
	check(t, func(t *rapid.T) {
		p := randomProgram(t)
		donated := rapid.SliceOfN(rapid.Bool(), len(p.Params), len(p.Params)).Draw(t, "donated")
		l := simulate(t, p, donated)
		total, most := 0, 0
		for _, s := range p.Steps {
			for r, v := range s.Out {
				place := l.Places[v]
				if slices.ContainsFunc(s.In, func(u *Value) bool { return l.Places[u] == place && v.Size() > 0 }) {
					inPlace++
				}
				if place.Kind == Arena {
					total += (bytes(v) + 63) / 64 * 64
					most = max(most, r+1)
				}
			}
		}
		if l.Bytes > total {
			t.Fatalf("an arena of %d bytes for values of %d", l.Bytes, total)
		}
		if l.Bytes < total {
			shared++
		}
		for _, d := range l.Donor {
			if d >= 0 {
				donors++
			}
		}
	})
	if inPlace < 100 || donors < 100 || shared < 100 {
		t.Errorf("%d results in place, %d in donated memory, %d programs in which values share memory: the test is too easy", inPlace, donors, shared)
	}
}

// Blocks that are needed at the same time are at different places, however their sizes and lifetimes are interleaved.
func TestPack(t *testing.T) {
	check(t, func(t *rapid.T) {
		var blocks []*block
		total := 0
		for range rapid.IntRange(0, 30).Draw(t, "blocks") {
			b := &block{bytes: rapid.IntRange(0, 500).Draw(t, "bytes"), begin: rapid.IntRange(0, 20).Draw(t, "begin")}
			b.end = b.begin + rapid.IntRange(0, 8).Draw(t, "life")
			blocks = append(blocks, b)
			total += (b.bytes + align - 1) / align * align
		}
		outside := &block{bytes: 1000, end: 30, place: Place{Kind: Out}}
		var l Layout
		l.pack(append(blocks, outside))
		if l.Bytes > total || outside.place != (Place{Kind: Out}) {
			t.Fatalf("%d bytes for blocks of %d; an output is at %+v", l.Bytes, total, outside.place)
		}
		for i, a := range blocks {
			from, to := a.place.Offset, a.place.Offset+a.bytes
			if from%align != 0 || to > l.Bytes {
				t.Fatalf("[%d, %d) of %d bytes", from, to, l.Bytes)
			}
			for _, b := range blocks[:i] {
				if a.begin <= b.end && b.begin <= a.end && from < b.place.Offset+b.bytes && b.place.Offset < to {
					t.Fatalf("%+v and %+v overlap", *a, *b)
				}
			}
		}
	})
}

func place(t *testing.T, l *Layout, v *Value) Place {
	t.Helper()
	p, ok := l.Places[v]
	if !ok {
		t.Fatalf("%v has no place", v.Dims)
	}
	return p
}

// A training step with donated parameters and moments writes the new ones where the old ones were.
func TestDonation(t *testing.T) {
	build := func() (*graph, []*Value) {
		g := &graph{}
		p, m, v, average := g.param(50, 60), g.param(50, 60), g.param(50, 60), g.param(50, 60)
		x := g.param(8, 50)
		y := g.dot(x, p, []int{1}, []int{0}, nil, nil)
		grad := g.dot(x, y, []int{0}, []int{0}, nil, nil)
		outs := g.many(compute.OpTypeCall, Named{Name: "adamw"}, []*Value{tensor(50, 60), tensor(50, 60), tensor(50, 60)},
			p, grad, m, v, constant(1), constant(2), constant(3), constant(4))
		outs = append(outs, g.node(compute.OpTypeCall, Named{Name: "ema"}, tensor(50, 60), average, outs[0], constant(5)))
		return g, outs
	}
	g, outs := build()
	l := simulate(t, g.lower(outs...), []bool{true, true, true, true, false})
	if !slices.Equal(l.Donor, []int{0, 1, 2, 3}) {
		t.Errorf("donors %v, want parameter, moments and average", l.Donor)
	}
	// What is left is the gradient and the activations.
	if want := 4 * (50*60 + 8*60); l.Bytes > want+64 {
		t.Errorf("%d bytes, want %d", l.Bytes, want)
	}
	g, outs = build()
	l = simulate(t, g.lower(outs...), make([]bool, 5))
	if !slices.Equal(l.Donor, []int{-1, -1, -1, -1}) || slices.Contains(l.Copied, true) {
		t.Errorf("without donations: donors %v, copied %v", l.Donor, l.Copied)
	}
	// One donated buffer for two outputs that could take it.
	g = &graph{}
	x := g.param(9)
	l = simulate(t, g.lower(g.unary(compute.OpTypeExp, x), g.unary(compute.OpTypeSin, x)), []bool{true})
	if slices.Max(l.Donor) != 0 || slices.Min(l.Donor) != -1 {
		t.Errorf("donors %v, want one", l.Donor)
	}
	// Nor is another shape or type a place, nor a parameter that is an output itself.
	g = &graph{}
	x = g.param(9)
	l = simulate(t, g.lower(g.unary(compute.OpTypeExp, x), x), []bool{true})
	if l.Donor[0] != -1 || !l.Copied[1] {
		t.Errorf("a parameter that is returned was given to output 0: donors %v, copied %v", l.Donor, l.Copied)
	}
	g = &graph{}
	x = g.param(9)
	mask := &Value{DType: dtypes.Bool, Dims: []int{9}}
	l = simulate(t, g.lower(g.node(compute.OpTypeIsNaN, nil, mask, x)), []bool{true})
	if l.Donor[0] != -1 {
		t.Error("booleans were given the memory of floats")
	}
	// A shorter list of donations donates nothing more.
	g = &graph{}
	x = g.param(9)
	if l = simulate(t, g.lower(g.unary(compute.OpTypeExp, x)), nil); l.Donor[0] != -1 {
		t.Error("a parameter was taken that nobody donated")
	}
}

func TestCopiedOutputs(t *testing.T) {
	g := &graph{}
	x, c := g.param(5), constant(7, 5)
	y := g.unary(compute.OpTypeExp, x)
	p := g.lower(x, y, y, c, c, g.transpose(g.param(2, 3), 1, 0))
	l := simulate(t, p, make([]bool, 2))
	if want := []bool{true, false, true, true, true, false}; !slices.Equal(l.Copied, want) {
		t.Errorf("copied: %v, want %v", l.Copied, want)
	}
	if len(l.Consts) != 1 || place(t, l, c) != (Place{Kind: Const}) || place(t, l, y) != (Place{Kind: Out, Index: 1}) || place(t, l, x) != (Place{Kind: Param}) {
		t.Errorf("constants %v, places %v, %v, %v", l.Consts, place(t, l, c), place(t, l, y), place(t, l, x))
	}
}

// A long sequence needs the memory of two of its values, or of one if each takes the place of the one before.
func TestArenaIsReused(t *testing.T) {
	const n, steps = 1000, 40
	for _, c := range []struct {
		name string
		next func(g *graph, x *Value) *Value
		want int
	}{
		{"softmax", func(g *graph, x *Value) *Value {
			return g.node(compute.OpTypeCall, Named{Name: "softmax"}, tensor(n), x)
		}, 2 * 4032},
		{"ema", func(g *graph, x *Value) *Value {
			return g.node(compute.OpTypeCall, Named{Name: "ema"}, tensor(n), x, g.params[0], constant(1))
		}, 0}, // all in the output's own memory
	} {
		g := &graph{}
		x := g.param(n)
		for range steps {
			x = c.next(g, x)
		}
		l := simulate(t, g.lower(x), make([]bool, 1))
		if l.Bytes > c.want {
			t.Errorf("%s: an arena of %d bytes, want at most %d", c.name, l.Bytes, c.want)
		}
	}
}
