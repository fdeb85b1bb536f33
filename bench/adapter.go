package bench

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// AdapterTraining returns a training step, which returns its loss, of a low-rank adapter of all attention layers of the U-Net, whose own weights are frozen and in F32: mean squared
// error of the prediction for one text, with checkpointing, clipping to norm 1, AdamW, moving averages.
func AdapterTraining(backend string, width, batch, side, rank int) (func() (loss float64, err error), error) {
	e, u, m, err := LoadStable(backend, width, engine.F32)
	if err != nil {
		return nil, err
	}
	low, err := sd.NewLowRank(e.Scope("/adapter"), u.Tensors(), rank, sd.AttentionMaps, noise.New(1))
	if err != nil {
		return nil, err
	}
	trained := 0
	for _, p := range low.Parameters() {
		trained += p.Shape().Size()
	}
	if want := adapterParameters(width, rank); trained != want { // PyTorch's side counts them too
		return nil, fmt.Errorf("bench: the adapter has %d parameters, the work wants %d", trained, want)
	}
	m = m.Adding(low.Addition)
	m.Checkpoint = true
	trainer, err := nn.NewTrainer(e, low.Parameters(), nn.Optimizer{}, func(in []*graph.Node) *graph.Node {
		return squaredError(u.Apply(m, in[0], in[1], in[2]), in[3])
	})
	if err != nil {
		return nil, err
	}
	inputs := append(StableInputs(u, batch, side), uniform(3, batch, side, side, u.Channels))
	return func() (float64, error) { return trainer.Step(inputs...) }, nil
}

func adapterTraining(backend string, args map[string]int) (func() error, error) {
	step, err := AdapterTraining(backend, args["width"], args["batch"], args["latent"], args["rank"])
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := step()
		return err
	}, nil
}

// adapterParameters is how many numbers are trained. A transformer block of width w has eight maps: of its two attentions to the text, 768 wide, k and v, all
// others from w to w, in all rank·(14·w + 2·768). There are five blocks of the width, five of twice and six of four times.
func adapterParameters(width, rank int) int { return rank * (14*(5+2*5+4*6)*width + 16*2*768) }
