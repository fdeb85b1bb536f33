package smallworld

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// What the checker says: of each kind whether there is none, one or two; which colour; which place; and whether the wall is green.
const (
	countLogits = 3 * int(world.Kinds)
	allLogits   = countLogits + int(world.Colours) + int(world.Places) + 2
)

// groups are the choices that the checker makes, as intervals of its results.
func groups() [][2]int {
	var all [][2]int
	from := 0
	add := func(n int) { all, from = append(all, [2]int{from, from + n}), from+n }
	for range world.Kinds {
		add(3)
	}
	add(int(world.Colours))
	add(int(world.Places))
	add(2)
	return all
}

// choices returns what the checker should choose of each group.
func choices(s world.Scene) []int {
	var all []int
	for _, n := range s.Counts() {
		all = append(all, n)
	}
	ground := 0
	if s.Ground {
		ground = 1
	}
	return append(all, int(s.Colour), int(s.Place), ground)
}

// scene undoes choices. That of more than two things, or of none, is not ok.
func scene(choices []int) (s world.Scene, ok bool) {
	for k := range world.Kinds {
		for range choices[k] {
			s.Kinds = append(s.Kinds, k)
		}
	}
	rest := choices[world.Kinds:]
	s.Colour, s.Place, s.Ground = world.Colour(rest[0]), world.Place(rest[1]), rest[2] == 1
	return s, len(s.Kinds) == 1 || len(s.Kinds) == 2
}

func checkerNetwork(s *model.Scope) nn.CNN { return nn.CNN{Scope: s, In: 3, Out: allLogits, Width: 24} }

// checker trains the classifier that says what pictures show: on slightly damaged ones, and on as many that the autoencoder has made of them, as it makes all
// that the model draws.
func (t Training) checker(ctx context.Context, f *sd.Folder) error {
	const steps, batch = 4000, 64
	key := t.key.Sub("checker")
	program, err := reconstructor(t.engine, f)
	if err != nil {
		return err
	}
	var failed error
	net := checkerNetwork(t.engine.Scope("/checker")).Init(key, 1, 0)
	loss := func(in []*graph.Node) *graph.Node {
		return graph.MulScalar(graph.ReduceAllSum(graph.Mul(in[1], logProbabilities(net.Apply(nil, in[0])))), -1.0/batch)
	}
	scope, err := t.fit(ctx, "checker", "/checker", steps, nn.Optimizer{LearningRate: 2e-3, WeightDecay: 0.01, EMA: 0.998}, loss, func(step int) []any {
		x, right := checked(key, step*batch, batch)
		again, err := program.Map(ctx, x[:batch/2*pixels], batch/2, batch/2, world.Side, world.Side, 3)
		failed = errors.Join(failed, err)
		copy(x, again)
		return []any{engine.Rows(x, world.Side, world.Side, 3), right}
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	path := scope.Scope()
	values, err := nn.State(t.engine, path)
	if err != nil {
		return err
	}
	file := checkpoint.File{Tensors: map[string]checkpoint.Tensor{}}
	for name, v := range values {
		if file.Tensors[strings.TrimPrefix("/"+name, path+"/")], err = checkpoint.Rounded(v.Shape, v.F32, checkpoint.F16); err != nil {
			return err
		}
	}
	return checkpoint.Save(t.file("checker/checker.safetensors"), file)
}

// logProbabilities normalises each group of the checker's results.
func logProbabilities(logits *graph.Node) *graph.Node {
	var parts []*graph.Node
	for _, g := range groups() {
		parts = append(parts, graph.LogSoftmax(graph.SliceAxis(logits, 1, graph.AxisRange(g[0], g[1])), -1))
	}
	return graph.Concatenate(parts, 1)
}

// checked returns pictures of what comparisons compare, slightly damaged, and what they show, [n, allLogits].
func checked(key noise.Key, from, n int) ([]float32, *tensors.Tensor) {
	x, right := make([]float32, n*pixels), make([]float32, n*allLogits)
	for i := range n {
		_, v, other, _ := world.Comparison(key, from+i)
		if i%2 == 1 {
			v = other
		}
		v.Damage *= 0.4
		v.Draw(key, from+i, x[i*pixels:(i+1)*pixels])
		mark(right[i*allLogits:], v.Scene)
	}
	return x, tensors.FromFlatDataAndDimensions(right, n, allLogits)
}

// mark sets what a scene is in zeros [allLogits].
func mark(right []float32, s world.Scene) {
	for j, g := range groups() {
		right[g[0]+choices(s)[j]] = 1
	}
}

// Checker says what pictures show.
type Checker struct{ program *engine.Program }

// OpenChecker reads checker.safetensors.
func OpenChecker(e *engine.Engine, path string) (*Checker, error) {
	f, err := checkpoint.Load(path)
	if err != nil {
		return nil, err
	}
	net := checkerNetwork(e.Scope("/checker"))
	net.Init(noise.Key{}, 1, 0)
	values := map[string]checkpoint.Tensor{}
	for name, v := range f.Tensors {
		wide, err := v.Float32s()
		if err != nil {
			return nil, fmt.Errorf("checker %s: tensor %s: %w", path, name, err)
		}
		values["checker/"+name] = checkpoint.Tensor{Shape: v.Shape, F32: wide}
	}
	if err := nn.Restore(e, values, "/checker"); err != nil {
		return nil, fmt.Errorf("checker %s: %w", path, err)
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{net.Apply(nil, in[0])} })
	return &Checker{program}, err
}

// Scenes returns what n pictures x [n, Side, Side, 3] show. A picture of no such scene is false.
func (c *Checker) Scenes(ctx context.Context, x []float32, n int) ([]world.Scene, []bool, error) {
	logits, err := c.program.Map(ctx, x, n, 64, world.Side, world.Side, 3)
	if err != nil {
		return nil, nil, err
	}
	scenes, ok := make([]world.Scene, n), make([]bool, n)
	for i := range n {
		row, all := logits[i*allLogits:(i+1)*allLogits], make([]int, 0, len(groups()))
		for _, g := range groups() {
			best := g[0]
			for j := g[0]; j < g[1]; j++ {
				if row[j] > row[best] {
					best = j
				}
			}
			all = append(all, best-g[0])
		}
		scenes[i], ok[i] = scene(all)
	}
	return scenes, ok, nil
}
