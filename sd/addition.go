package sd

import "github.com/gomlx/gomlx/core/graph"

// Adding returns the modules with one addition more, see [Modules.Addition].
func (m Modules) Adding(more func(name string, x *graph.Node) *graph.Node) Modules {
	before := m.Addition
	if before == nil {
		m.Addition = more
		return m
	}
	m.Addition = func(name string, x *graph.Node) *graph.Node {
		a, b := before(name, x), more(name, x)
		if a == nil || b == nil {
			if a == nil {
				return b
			}
			return a
		}
		return graph.Add(a, b)
	}
	return m
}
