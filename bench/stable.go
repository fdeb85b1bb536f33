package bench

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/sd"
)

// StableUNet is the U-Net of Stable Diffusion 1.5, for the width 320: 859,520,964 parameters. Other widths make a smaller one of the same form.
func StableUNet(width int) sd.UNet {
	return sd.UNet{
		Channels: 4, Widths: []int{width, 2 * width, 4 * width, 4 * width}, Layers: 2, Context: 768, Heads: []int{8, 8, 8, 8},
		AttendDown: []bool{true, true, true, false}, AttendUp: []bool{false, true, true, true},
		Groups: min(32, width), Epsilon: 1e-5, CosineFirst: true, Side: 64,
	}
}

// stableWorks are evaluations of the U-Net of Stable Diffusion 1.5 with random weights, each of a picture of 512×512 with guidance: batch 2. The last one is
// a training step of an adapter, see [adapterTraining].
func stableWorks() []Work {
	var works []Work
	for _, bits := range []int{32, 16} {
		what := "weights in F32"
		if bits == 16 {
			what = "weights in F16" // here computed in F32, in PyTorch in BF16
		}
		works = append(works, Work{
			Name: "Stable Diffusion 1.5 U-Net, batch 2, 64×64, " + what, Kind: "sd_unet",
			Args: map[string]int{"width": 320, "batch": 2, "latent": 64, "bits": bits},
			Flop: 2 * 2 * stableProducts, Memory: true, Peers: []string{"eager", "nhwc", "compile"},
		})
	}
	return append(works, Work{
		Name: "Stable Diffusion 1.5, LoRA step of rank 4, batch 1, 64×64", Kind: "sd_lora",
		Args: map[string]int{"width": 320, "batch": 1, "latent": 64, "rank": 4},
		// Forward, the same once more block by block, and the gradients of what the layers take: none of the frozen weights.
		Flop: 3 * 2 * stableProducts, Memory: true, Peers: []string{"eager", "nhwc", "compile"},
	})
}

// stableProducts are the multiplications of one row.
const stableProducts = 401.6e9

// stableUNet is one evaluation of the U-Net, without gradients.
func stableUNet(backend string, args map[string]int) (func() error, error) {
	e, u, m, err := loadStable(backend, args)
	if err != nil {
		return nil, err
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{u.Apply(m, in[0], in[1], in[2])} })
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	batch := args["batch"]
	x, text := uniform(1, batch, args["latent"], args["latent"], u.Channels), uniform(2, batch, 77, u.Context)
	return func() error {
		out, err := program.Run(x, []int32{500}, text)
		if err != nil {
			return err
		}
		return out[0].FinalizeAll()
	}, nil
}

// loadStable opens a backend with the U-Net's weights below /unet.
func loadStable(backend string, args map[string]int) (*engine.Engine, sd.UNet, sd.Modules, error) {
	u := StableUNet(args["width"])
	e, err := engine.Open(backend)
	if err != nil {
		return nil, u, sd.Modules{}, err
	}
	w, err := u.Weights(RandomWeights{Of: u.Tensors(), Bits: args["bits"], Seed: 1})
	if err != nil {
		return nil, u, sd.Modules{}, err
	}
	m, err := w.Load(e.Scope("/unet"), nil)
	return e, u, m, err
}
