package engine

import (
	"fmt"

	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// Memory is what a program takes, in bytes.
type Memory struct {
	Parameters int64 // of the networks that it uses; several programs share them
	Arguments  int64 // inputs and outputs
	Working    int64 // what it needs besides while it runs; programs that follow each other share it on backend cpu; −1 if the backend does not say
}

// Total returns the sum of what is known.
func (m Memory) Total() int64 { return m.Parameters + m.Arguments + max(m.Working, 0) }

// Memory compiles a graph function for inputs of these shapes and tells what it would take. Nothing is run, and parameters need no values: those of
// a model on disk can be declared only.
func (e *Engine) Memory(fn func(inputs []*graph.Node) []*graph.Node, inputs ...shapes.Shape) (m Memory, err error) {
	defer func() {
		if r := recover(); r != nil { // graph functions panic
			err = fmt.Errorf("engine: memory: %v", r)
			if cause, ok := r.(error); ok {
				err = fmt.Errorf("engine: memory: %w", cause)
			}
		}
	}()
	g := graph.NewGraph(e.backend, "memory")
	defer g.Finalize()
	in := make([]*graph.Node, len(inputs))
	for i, s := range inputs {
		in[i] = graph.Parameter(g, fmt.Sprintf("input_%d", i), s)
		m.Arguments += int64(s.ByteSize())
	}
	if err := g.Compile(fn(in)...); err != nil {
		return Memory{}, fmt.Errorf("engine: memory: %w", err)
	}
	program := g.Executable()
	_, all := program.Inputs()
	for _, s := range all {
		m.Parameters += int64(s.ByteSize())
	}
	m.Parameters -= m.Arguments
	for _, s := range program.Outputs() {
		m.Arguments += int64(s.ByteSize())
	}
	m.Working = -1
	if sized, ok := program.(interface{ Memory() int64 }); ok {
		m.Working = sized.Memory()
	}
	return m, nil
}
