package bench

import (
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// perceptron is a training step of a timed [nn.MLP] from 2 to 2 numbers: mean squared error, Adam, moving averages of the
// parameters; without clipping.
func perceptron(backend string, args map[string]int) (func() error, error) {
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	net := nn.MLP{Scope: e.Scope("/net"), In: 2, Out: 2, Width: args["width"], Depth: args["depth"], Timed: true}.Init(noise.New(1), 1, 0)
	batch := args["batch"]
	x, t, target := uniform(1, batch, 2), uniform(2, batch), uniform(3, batch, 2)
	trainer, err := nn.NewTrainer(e, net.Parameters(), nn.Optimizer{ClipNorm: -1}, func(in []*graph.Node) *graph.Node {
		return squaredError(net.Apply(in[1], in[0]), in[2])
	})
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := trainer.Step(x, t, target)
		return err
	}, nil
}

// unetTraining is a training step of [nn.UNet]: mean squared error, clipping to norm 1, AdamW, moving averages.
func unetTraining(backend string, args map[string]int) (func() error, error) {
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	net := unet(e, args)
	x, t := images(args)
	target := uniform(3, x.Shape().Dimensions...)
	trainer, err := nn.NewTrainer(e, net.Parameters(), nn.Optimizer{}, func(in []*graph.Node) *graph.Node {
		return squaredError(net.Apply(in[1], in[0]), in[2])
	})
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := trainer.Step(x, t, target)
		return err
	}, nil
}

// unetSampling is one evaluation of [nn.UNet], as in every step of a sampler.
func unetSampling(backend string, args map[string]int) (func() error, error) {
	e, err := engine.Open(backend)
	if err != nil {
		return nil, err
	}
	net := unet(e, args)
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{net.Apply(in[1], in[0])} })
	if err != nil {
		return nil, err
	}
	x, t := images(args)
	return func() error {
		out, err := program.Run(x, t)
		if err != nil {
			return err
		}
		return out[0].FinalizeAll()
	}, nil
}

func unet(e *engine.Engine, args map[string]int) nn.Network {
	return nn.UNet{Scope: e.Scope("/net"), In: 1, Out: 1, Width: args["width"], Heads: args["heads"]}.Init(noise.New(1), 1, 0)
}

func images(args map[string]int) (x, t *tensors.Tensor) {
	return uniform(1, args["batch"], args["size"], args["size"], 1), uniform(2, args["batch"])
}

func squaredError(y, target *graph.Node) *graph.Node {
	return graph.ReduceAllMean(graph.Square(graph.Sub(y, target)))
}

// uniform returns a tensor of numbers in [0, 1).
func uniform(seed uint64, dims ...int) *tensors.Tensor {
	n := 1
	for _, d := range dims {
		n *= d
	}
	x := random(make([]float32, n), seed)
	for i := range x {
		x[i] = (x[i] + 1) / 2
	}
	return tensors.FromFlatDataAndDimensions(x, dims...)
}
