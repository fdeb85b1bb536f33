package sd

import "github.com/gomlx/gomlx/core/graph"

// attention is multi-head attention from queries to states by four linear maps, whose names differ between networks.
type attention struct {
	query, key, value, out string
	heads                  int
	// product is one of the kinds of attention of package op.
	product func(q, k, v *graph.Node) *graph.Node
}

// of returns what x [batch, queries, width] finds in states [batch, keys, …], shaped like x.
func (a attention) of(m Modules, name string, x, states *graph.Node) *graph.Node {
	split := func(part string, x *graph.Node) *graph.Node {
		y := m.linear(name+"."+part, x)
		d := y.Shape().Dimensions
		return graph.Reshape(y, d[0], d[1], a.heads, d[2]/a.heads)
	}
	y := a.product(split(a.query, x), split(a.key, states), split(a.value, states))
	d := y.Shape().Dimensions
	return m.result(name, m.linear(name+"."+a.out, graph.Reshape(y, d[0], d[1], d[2]*d[3])))
}
