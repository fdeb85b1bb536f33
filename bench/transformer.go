package bench

import (
	"fmt"

	"github.com/doob-diffusion/doob/cpu/measure"
)

// transformerWorks are the parts of Stable Diffusion 1.5's transformer blocks that are neither products nor convolutions, at
// latents of 64² and two images, as in a guided evaluation.
func transformerWorks() []Work {
	var works []Work
	for gradients, what := range []string{"forward", "forward and gradients"} {
		for _, s := range []struct{ queries, keys, dim int }{{4096, 4096, 40}, {4096, 77, 40}, {1024, 1024, 80}, {256, 256, 160}} {
			works = append(works, Work{
				Name: fmt.Sprintf("attention 2×8 heads × %d to %d × %d, %s", s.queries, s.keys, s.dim, what), Kind: "attention",
				Args: map[string]int{"batch": 2, "heads": 8, "queries": s.queries, "keys": s.keys, "dim": s.dim, "gradients": gradients},
				// Two products forward, and five in the gradients: one of them is computed again.
				Flop:  float64(2+5*gradients) * 2 * 16 * float64(s.queries*s.keys) * float64(s.dim),
				Peers: []string{"eager"},
			})
		}
		works = append(works,
			Work{Name: "layer norm 8192×320, " + what, Kind: "layer_norm", Peers: []string{"eager", "compile"},
				Args: map[string]int{"rows": 8192, "width": 320, "gradients": gradients}},
			Work{Name: "GEGLU 8192×1280, " + what, Kind: "geglu", Peers: []string{"eager", "compile"},
				Args: map[string]int{"rows": 8192, "width": 1280, "gradients": gradients}})
	}
	return works
}

// attention is softmax(q·kᵀ/√dim)·v, and with gradients set those of q, k and v too.
func attention(_ string, args map[string]int) (func() error, error) {
	return unfailing(measure.Attention{Batch: args["batch"], Queries: args["queries"], Keys: args["keys"], Heads: args["heads"],
		Dim: args["dim"], Gradients: args["gradients"] != 0}.Prepare())
}

// layerNorm normalises rows, and with gradients set computes those of x, scale and bias too.
func layerNorm(_ string, args map[string]int) (func() error, error) {
	return unfailing(measure.LayerNorm{Rows: args["rows"], Width: args["width"], Gradients: args["gradients"] != 0}.Prepare())
}

// geglu is value·GELU(gate) of rows, and with gradients set that of x too.
func geglu(_ string, args map[string]int) (func() error, error) {
	return unfailing(measure.GEGLU{Rows: args["rows"], Width: args["width"], Gradients: args["gradients"] != 0}.Prepare())
}
