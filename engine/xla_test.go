//go:build xla

package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// Nothing is looked for or downloaded: a plug-in is named by its path, and one that is not there is an error.
func TestXLAWithoutPlugin(t *testing.T) {
	for _, name := range []string{"xla", "xla:cpu", "xla:plugin.so,preallocate=false"} {
		_, err := engine.Open(name)
		oracle.WantError(t, err, "absolute path")
	}
	_, err := engine.Open("xla:/nowhere/plugin.so")
	if err == nil || errors.Is(err, engine.ErrUnknownBackend) {
		t.Errorf("a plug-in that is not there: error %v", err)
	}
}

// Parameters that a program updates on the device are those of the next run, and can be read in between.
func TestXLAUpdates(t *testing.T) {
	e := oracle.OpenOn(t, oracle.XLA(t))
	if !strings.Contains(e.Describe(), "PJRT") {
		t.Errorf("the backend describes itself as %q", e.Describe())
	}
	w := e.Scope("/h").VariableWithValue("w", []float32{1, 2})
	step := func(in []*graph.Node) []*graph.Node {
		next := graph.Add(engine.Parameter(w, in[0]), in[0])
		w.SetNodeValue(next)
		return []*graph.Node{graph.ReduceAllSum(next)}
	}
	program, err := e.Compile(step)
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range []float32{23, 43, 63} {
		out, err := program.Run([]float32{10, 10})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]float32, 1)
		if err := engine.Floats(got, out[0]); err != nil || got[0] != want {
			t.Errorf("step %d: %v, %v; want %v", k, got, err, want)
		}
		if sum := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{engine.Parameter(w, in[0])} }, float32(0))[0]; sum[0]+sum[1] != want {
			t.Errorf("step %d: the parameters are %v, want a sum of %v", k, sum, want)
		}
	}
}
