package sd

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
)

// Guided is a U-Net as a model of latents [batch, height, width, channels] under classifier-free guidance (Ho & Salimans 2022): with the predictions
// without text, ε_∅, and with it, ε_c,
//
//	ε = ε_∅ + g·(ε_c − ε_∅)
//
// both in one evaluation of 2·batch rows, that count as two calls of a network each. As in diffusers, a scale g of at most 1 switches guidance off: then
// ε = ε_c, and no row is without text. The process must be a [diffusion.Discrete], such as [Schedule.Process]; a time stands for the nearest of its levels.
type Guided struct {
	UNet       UNet
	Modules    Modules
	Prediction diffusion.Prediction
	Scale      float64 // g; the zero value has no guidance
	// Texts are states of texts [texts, tokens, Context], such as those of [Folder.Encode]. The first is what samples are guided away from: that of the
	// empty text, or of a negative prompt. Which of them is a path's stands in [diffusion.State.Given], its number, [batch] or [batch, 1]; without that,
	// it is that of Text for all.
	Texts *model.Variable
	Text  int // 0 means 1
}

var _ diffusion.Guided = Guided{}

// Guides reports whether there is guidance, and so two rows for every sample.
func (m Guided) Guides() bool { return m.Scale > 1 }

// Unguided implements [diffusion.Guided]: the prediction for the text alone.
func (m Guided) Unguided() diffusion.Model {
	m.Scale = 0
	return m
}

// Noise implements [diffusion.Model].
func (m Guided) Noise(s diffusion.State) *graph.Node {
	level, text := level(s), m.text(s)
	if !m.Guides() {
		return m.Prediction.NoiseOf(s, m.UNet.Apply(m.Modules, s.X, level, text))
	}
	engine.CountCall(s.X) // the one without text; whoever evaluates a model or control has counted one
	n := s.X.Shape().Dimensions[0]
	if level.Shape().Dimensions[0] == n {
		level = graph.Concatenate([]*graph.Node{level, level}, 0)
	}
	both := m.UNet.Apply(m.Modules, graph.Concatenate([]*graph.Node{s.X, s.X}, 0), level, graph.Concatenate([]*graph.Node{m.rows(s, 0), text}, 0))
	without, with := graph.SliceAxis(both, 0, graph.AxisRange(0, n)), graph.SliceAxis(both, 0, graph.AxisRange(n))
	out := graph.Add(without, graph.MulScalar(graph.Sub(with, without), m.Scale))
	return m.Prediction.NoiseOf(s, out) // which is linear in out, so that it does not matter what is guided
}

// text returns the states of every row's text, [batch, tokens, Context].
func (m Guided) text(s diffusion.State) *graph.Node {
	if s.Given == nil {
		return m.rows(s, max(1, m.Text))
	}
	number := graph.ConvertDType(graph.Round(graph.Reshape(s.Given, -1, 1)), dtypes.Int32)
	return graph.Gather(m.states(s), number)
}

// rows returns the states of one text for every row.
func (m Guided) rows(s diffusion.State, text int) *graph.Node {
	states := m.states(s)
	d := states.Shape().Dimensions
	if text >= d[0] {
		panic(fmt.Errorf("sd: there are states of %d texts: want at least 2, the first of which is guided away from", d[0]))
	}
	return graph.BroadcastToDims(graph.SliceAxis(states, 0, graph.AxisRange(text, text+1)), s.X.Shape().Dimensions[0], d[1], d[2])
}

// states returns those of all texts, in the precision of the samples.
func (m Guided) states(s diffusion.State) *graph.Node {
	return graph.ConvertDType(engine.Parameter(m.Texts, s.X), s.X.DType())
}
