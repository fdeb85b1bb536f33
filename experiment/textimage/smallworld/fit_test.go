package smallworld

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// fitted trains a perceptron for some steps and returns its averages; before the given step the context is cancelled.
func fitted(t *testing.T, training Training, steps, stop int) (map[string]checkpoint.Tensor, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	training.engine = open(t)
	net := nn.MLP{Scope: training.engine.Scope("/net"), In: 2, Out: 2, Width: 8, Depth: 1}.Init(noise.New(1), 1, 0)
	loss := func(in []*graph.Node) *graph.Node { return graph.ReduceAllMean(graph.Square(net.Apply(nil, in[0]))) }
	_, err := training.fit(ctx, "net", "/net", steps, nn.Optimizer{LearningRate: 1e-2, EMA: 0.9}, loss, func(step int) []any {
		if step == stop {
			cancel()
		}
		return []any{[][]float32{{float32(step), 1}, {-1, float32(step)}}}
	})
	if err != nil {
		return nil, err
	}
	out, err := nn.State(training.engine, nn.Averaged("/net"))
	if err != nil {
		t.Fatal(err)
	}
	return out, nil
}

// A training that is interrupted, twice, ends with the same parameters as one that is not.
func TestGoOn(t *testing.T) {
	want, err := fitted(t, Training{Dir: t.TempDir()}, 12, -1)
	if err != nil {
		t.Fatal(err)
	}
	training := Training{Dir: t.TempDir()}
	for _, stop := range []int{4, 9} {
		if _, err := fitted(t, training, 12, stop); !errors.Is(err, context.Canceled) {
			t.Fatalf("interrupted before step %d: %v", stop, err)
		}
	}
	if f, err := checkpoint.Load(training.unfinished("net")); err != nil || f.Metadata["done"] != "10" { // the step that was begun is taken
		t.Errorf("what is left says %v, want 10 steps; %v", f.Metadata, err)
	}
	got, err := fitted(t, training, 12, -1)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v; %v", got, want, err)
	}
	if _, err := fitted(t, training, 13, -1); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a training of another length went on with it: %v", err)
	}
	if err := training.finish(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(training.unfinished("net")); !os.IsNotExist(err) {
		t.Errorf("it is left when all is done: %v", err)
	}
}
