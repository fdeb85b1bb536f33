package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
)

// donation updates one large parameter, whose memory every step gives back: what is in use must not grow from step to step, and the numbers must be right.
func (o options) donation() error {
	const steps = 10
	n := o.size(256<<20, 16<<20)
	e, err := engine.Open(o.backend)
	if strings.Contains(strings.ToLower(o.backend), "cuda") {
		// This allocator takes and gives back every array by itself, so that the GPU's memory is that of the arrays. Not all plug-ins have it.
		if plain, failed := engine.Open(o.backend + ",allocator=platform"); failed == nil {
			e, err = plain, nil
		}
	}
	if err != nil {
		return err
	}
	first, where := used()
	w := e.Scope("/p").VariableWithValue("w", tensors.FromFlatDataAndDimensions(make([]float32, n), n))
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		next := graph.Add(engine.Parameter(w, in[0]), in[0])
		w.SetNodeValue(next)
		return []*graph.Node{graph.ReduceAllMax(next)}
	})
	if err != nil {
		return err
	}
	var after []float64 // in use, in arrays of the parameter's size, above what was at first
	watch := startWatch()
	for step := range steps {
		start := time.Now()
		out, err := program.Run(float32(1))
		if err != nil {
			return err
		}
		got := make([]float32, 1)
		if err := engine.Floats(got, out[0]); err != nil {
			return err
		}
		if got[0] != float32(step+1) {
			return fmt.Errorf("the parameter after step %d: %w: %g, expected %d", step+1, errWrong, got[0], step+1)
		}
		now, _ := used()
		after = append(after, (now-first)/float64(4*n))
		say(start, "step %d, then in use %s: %.2f times the parameter", step+1, where, after[step])
	}
	seen := watch.stop()
	fmt.Printf("           a parameter of %.2f GB; %s, which is %.2f times the parameter\n", float64(4*n)/1e9, seen, (watch.peak-first)/float64(4*n))
	// A leak adds an array a step, so half of the steps in the second half; one that is freed late comes and goes.
	if grown := slices.Max(after[steps/2:]) - slices.Max(after[:steps/2]); grown > steps/4 {
		return fmt.Errorf("memory: %w: it grew by %.2f times the parameter in the last %d steps, expected nothing", errWrong, grown, steps/2)
	}
	return nil
}
