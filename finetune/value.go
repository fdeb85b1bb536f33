package finetune

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// ValuePath is where the parameters of a value network are.
const ValuePath = "/value"

// ValueSettings are those of DPOK's value network V(x_t, step), which learns the reward of a path by least squares from a state on it. Its inputs are the numbers of
// the state; where one text is learned for, as here, it need not see the text.
type ValueSettings struct {
	Width        int     `yaml:"width"`         // of its three hidden layers
	Updates      int     `yaml:"updates"`       // gradient steps per iteration
	Batch        int     `yaml:"batch"`         // transitions in one
	LearningRate float64 `yaml:"learning_rate"` // constant
}

type value struct {
	net     nn.Stepwise
	trainer *nn.Trainer
}

func newValue(s *diffusion.Sampler, settings ValueSettings, key noise.Key) (*value, error) {
	net := nn.Stepwise{Scope: s.Engine.Scope(ValuePath), In: engine.Size(s.Shape), Out: 1, Steps: len(s.Steps), Width: settings.Width, Depth: 3}
	net.Init(key.Sub(ValuePath), 1, 0)
	v := &value{net: net}
	var err error
	v.trainer, err = nn.NewTrainer(s.Engine, net.Parameters(), nn.Optimizer{LearningRate: settings.LearningRate, ClipNorm: -1}, func(in []*graph.Node) *graph.Node {
		x, step, earned := in[0], in[1], in[2]
		return graph.ReduceAllMean(graph.Square(graph.Sub(v.graph(step, x), earned)))
	})
	return v, err
}

// graph returns V [batch] of states x [batch, …] at the numbers of their steps [batch].
func (v *value) graph(step, x *graph.Node) *graph.Node {
	return graph.Squeeze(v.net.Apply(step, x), -1)
}
