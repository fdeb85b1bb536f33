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
// a training step of an adapter, see [AdapterTraining].
func stableWorks() []Work {
	var works []Work
	for _, s := range []struct {
		what           string
		bits, products int // of weights; of the products of linear maps. PyTorch computes in the form of the weights
	}{{"weights in F32", 32, 32}, {"weights in BF16", 16, 32}, {"weights and products in BF16", 16, 16}} {
		works = append(works, Work{
			Name: "Stable Diffusion 1.5 U-Net, batch 2, 64×64, " + s.what, Kind: "sd_unet",
			Args: map[string]int{"width": 320, "batch": 2, "latent": 64, "bits": s.bits, "products": s.products},
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

// stableConvolutions are 3×3 convolutions of the U-Net of Stable Diffusion 1.5 for pictures of 512×512 with guidance, forward, from its widest pictures to its
// smallest; the last one, of the way up, takes in a skip connection.
func stableConvolutions() []Work {
	var works []Work
	for _, s := range []struct{ inputs, outputs, size int }{{320, 320, 64}, {640, 640, 32}, {1280, 1280, 16}, {1280, 1280, 8}, {1920, 640, 32}} {
		works = append(works, convolutionWork(3, 1, 2, s.inputs, s.outputs, s.size, 0, 0))
	}
	return works
}

// stableProducts are the multiplications of one row.
const stableProducts = 401.6e9

// stableUNet is one evaluation of the U-Net, without gradients.
func stableUNet(backend string, args map[string]int) (func() error, error) {
	if args["products"] == 16 {
		backend = "cpu:bf16"
		if _, err := engine.Open(backend); err != nil { // of a processor without them
			return nil, fmt.Errorf("%w: %w", ErrNotTimed, err)
		}
	}
	e, u, m, err := LoadStable(backend, args["width"], map[int]engine.Precision{16: engine.BF16}[args["bits"]])
	if err != nil {
		return nil, err
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{u.Apply(m, in[0], in[1], in[2])} })
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	in := StableInputs(u, args["batch"], args["latent"])
	return func() error {
		out, err := program.Run(in...)
		if err != nil {
			return err
		}
		return out[0].FinalizeAll()
	}, nil
}

// LoadStable opens a backend with the weights of the U-Net of a width below /unet, in a precision, none meaning F32.
func LoadStable(backend string, width int, p engine.Precision) (*engine.Engine, sd.UNet, sd.Modules, error) {
	u := StableUNet(width)
	e, err := engine.Open(backend)
	if err != nil {
		return nil, u, sd.Modules{}, err
	}
	w, err := u.Weights(RandomWeights{Of: u.Tensors(), Bits: map[engine.Precision]int{engine.F16: 16}[p], Seed: 1})
	if err != nil {
		return nil, u, sd.Modules{}, err
	}
	w.Precision = p
	m, err := w.Load(e.Scope("/unet"), nil)
	return e, u, m, err
}

// StableInputs are latents [batch, side, side, Channels], a timestep [1] and the states of a text [batch, 77, Context].
func StableInputs(u sd.UNet, batch, side int) []any {
	return []any{uniform(1, batch, side, side, u.Channels), []int32{500}, uniform(2, batch, 77, u.Context)}
}
