package nn

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/op"
)

// Optimizer is AdamW with optional clipping and parameter averaging. The zero value is Adam at 1e-3. How the rate falls is
// said to the [Trainer], which knows the steps.
type Optimizer struct {
	LearningRate float64 `yaml:"learning_rate"` // 0 means 1e-3
	WeightDecay  float64 `yaml:"weight_decay"`  // decoupled; 0 is plain Adam
	ClipNorm     float64 `yaml:"clip_norm"`     // global gradient norm; 0 means 1, negative means no clipping
	EMA          float64 `yaml:"ema"`           // decay of the averaged copy of the parameters; 0 makes it equal to them
}

const beta1, beta2, epsilon = 0.9, 0.999, 1e-8

// Training are the settings of a network's training on data.
type Training struct {
	Steps     int       `yaml:"steps"`
	Batch     int       `yaml:"batch"` // examples in a step
	Optimizer Optimizer `yaml:",inline"`
}

// Trainer minimises one loss over some parameters. Its state, like the parameters, are variables of the engine: moments
// under /optimizer/<path>, averages under /ema/<path>.
type Trainer struct {
	options    Optimizer
	engine     *engine.Engine
	parameters []*model.Variable
	loss       func(inputs []*graph.Node) *graph.Node
	program    *engine.Program // of a step; of the last part of one, if batches are computed in parts
	first      *engine.Program // of the parts before the last; nil without parts
	parts      int
	steps      int
	from, over int // the rate falls from the first on, over so many steps
}

// NewTrainer compiles the loss, a scalar graph function of the inputs given to Step, over parameters of the engine. The rate
// is constant until [Trainer.Decay] says otherwise.
func NewTrainer(e *engine.Engine, parameters []*model.Variable, options Optimizer, loss func(inputs []*graph.Node) *graph.Node) (*Trainer, error) {
	if options.LearningRate == 0 {
		options.LearningRate = 1e-3
	}
	if options.ClipNorm == 0 {
		options.ClipNorm = 1
	}
	t := &Trainer{options: options, engine: e, parameters: parameters, loss: loss}
	if len(parameters) == 0 {
		return nil, errors.New("nn: no parameters to train: Init has not run, or they are in another scope")
	}
	for _, p := range parameters {
		if e.Params.GetVariable(p.Path()) != p { // its new values would be lost
			return nil, fmt.Errorf("nn: parameter %s is of another engine: train it there, or a copy of it here", p.Path())
		}
		for _, name := range []string{"/m", "/v"} {
			frozen(e, "/optimizer"+p.Path()+name, tensors.FromShape(p.Shape()))
		}
		value, err := p.MustValue().Clone()
		if err != nil {
			return nil, fmt.Errorf("nn: average of %s: %w", p.Path(), err)
		}
		frozen(e, Averaged(p.Path()), value)
	}
	var err error
	t.program, err = e.Compile(func(inputs []*graph.Node) []*graph.Node {
		value, nodes, grads := t.gradient(inputs[1:])
		return []*graph.Node{value, t.update(inputs[0], value, nodes, grads)}
	})
	return t, err
}

// update returns what the gradient is multiplied by, 0 if it is void, and makes the parameters, moments and averages those after the step.
func (t *Trainer) update(schedule, value *graph.Node, nodes, grads []*graph.Node) *graph.Node {
	e, g := t.engine, schedule.Graph()
	scalar := func(i int) *graph.Node {
		return graph.Reshape(graph.Slice(schedule, graph.AxisElem(i)))
	}
	scale, finite := graph.ScalarOne(g, value.DType()), graph.IsFinite(value)
	if t.options.ClipNorm > 0 {
		norm := op.GlobalNorm(grads)
		scale = graph.MinScalar(graph.Div(graph.Scalar(g, norm.DType(), t.options.ClipNorm), graph.AddScalar(norm, 1e-12)), 1)
		finite = graph.LogicalAnd(finite, graph.IsFinite(norm))
	}
	scale = graph.Where(finite, scale, graph.ScalarZero(g, scale.DType())) // 0 voids the step
	for i, p := range t.parameters {
		m, v := e.Params.GetVariable("/optimizer"+p.Path()+"/m"), e.Params.GetVariable("/optimizer"+p.Path()+"/v")
		p1, m1, v1 := op.AdamW(nodes[i], grads[i], engine.Parameter(m, value), engine.Parameter(v, value), scalar(0), scalar(1), scalar(2), scale,
			beta1, beta2, epsilon, t.options.WeightDecay)
		p.SetNodeValue(p1)
		m.SetNodeValue(m1)
		v.SetNodeValue(v1)
		a := e.Params.GetVariable(Averaged(p.Path()))
		a.SetNodeValue(op.EMA(engine.Parameter(a, value), p1, scalar(3)))
	}
	return scale
}

// gradient returns the loss, and the parameters with its gradients.
func (t *Trainer) gradient(inputs []*graph.Node) (value *graph.Node, nodes, grads []*graph.Node) {
	value = t.loss(inputs)
	for _, p := range t.parameters {
		nodes = append(nodes, engine.Parameter(p, value))
	}
	return value, nodes, graph.Gradient(value, nodes...)
}

// Resume makes the next step the one after the given number, of a run whose parameters, moments and averages have been
// restored: rate, corrections and averaging continue from there.
func (t *Trainer) Resume(steps int) { t.steps = steps }

// Decay makes the learning rate fall to zero by a cosine over so many steps, counted from the step after from, before which
// it is whole and after which it stays zero. With 0 steps it is constant. A later start is a warm restart (SGDR, Loshchilov &
// Hutter 2017): corrections and averaging go on by the steps from the very first.
func (t *Trainer) Decay(from, steps int) { t.from, t.over = from, steps }

// Run takes the steps that are left of n, each on the inputs of its number, from 0. After, if not nil, is called with the
// number of steps done and the loss; its error ends the run, as does that of the context.
func (t *Trainer) Run(ctx context.Context, n int, inputs func(step int) []any, after func(done int, loss float64) error) error {
	for t.steps < n {
		if err := ctx.Err(); err != nil {
			return err
		}
		loss, err := t.Step(inputs(t.steps)...)
		if err != nil {
			return err
		}
		if after != nil {
			if err := after(t.steps, loss); err != nil {
				return err
			}
		}
	}
	return nil
}

// Step takes one optimiser step on a batch and returns the loss before it. If the loss is not finite, or with clipping the
// gradient, that is an error that names the tensor at fault, and parameters and moments stay as they were.
func (t *Trainer) Step(inputs ...any) (float64, error) {
	t.steps++
	k, rate := float64(t.steps), t.options.LearningRate
	if t.over > 0 {
		rate *= 0.5 * (1 + math.Cos(math.Pi*min(1, max(0, k-1-float64(t.from))/float64(t.over))))
	}
	// Early averages would otherwise remember the initial parameters: start the decay low (Karras et al. 2022).
	ema := min(t.options.EMA, (1+k)/(10+k))
	schedule := []float32{float32(rate), float32(1 / (1 - math.Pow(beta1, k))), float32(1 / (1 - math.Pow(beta2, k))), float32(ema)}
	out, err := t.run(schedule, inputs)
	if err != nil {
		return 0, err
	}
	loss, scale := float64(tensors.ToScalar[float32](out[0])), tensors.ToScalar[float32](out[1])
	out[0].FinalizeAll()
	out[1].FinalizeAll()
	if scale == 0 || math.IsNaN(loss) || math.IsInf(loss, 0) {
		return loss, fmt.Errorf("nn: step %d, at learning rate %g: %w", t.steps, rate, t.diagnose(inputs, loss))
	}
	return loss, nil
}

func frozen(e *engine.Engine, path string, value *tensors.Tensor) {
	e.Params.VariableWithValue(path, value).SetTrainable(false)
}
