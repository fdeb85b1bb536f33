// Package bench has the works by which the speed of package cpu is judged: matrix products, convolutions, attention, training
// and sampling steps. Its benchmarks time ours; the program in bench/peer times them in turns with PyTorch.
//
// For the second, a Python with torch installed is needed:
//
//	go test -run - -bench . ./bench
//	go run ./bench/peer -python python3 -json results.json -markdown results.md
package bench

import (
	"embed"
	"fmt"
	"maps"
	"slices"
)

// PyTorch is the program that does the same works in PyTorch: pytorch/peer.py and the modules that it imports.
//
//go:embed pytorch/*.py
var PyTorch embed.FS

// Work is something to be timed, described so that any program can build it: a kind and its sizes.
type Work struct {
	Name string         `json:"name"`
	Kind string         `json:"kind"`
	Args map[string]int `json:"args,omitempty"`
	// Flop is the nominal number of floating-point operations of one iteration; 0 if it says little.
	Flop float64 `json:"flop,omitempty"`
	// Count says how many things one iteration makes, and Unit what they are, where their rate is what matters.
	Count int    `json:"count,omitempty"`
	Unit  string `json:"unit,omitempty"`
	// Peers are the variants of the same work in PyTorch, see pytorch/peer.py.
	Peers []string `json:"peers,omitempty"`
	// Memory says that the peak memory is compared too.
	Memory bool `json:"-"`
}

// Peak is the work that measures the FMA peak.
var Peak = Work{Name: "FMA peak", Kind: "peak", Flop: 1e9}

// Exchange is the work that tells how far apart two processors are: a cache line goes to the other one and back [ExchangeTrips] times.
var Exchange = Work{Name: "exchange", Kind: "exchange"}

// ExchangeTrips is how often in one iteration of [Exchange] the line goes there and back.
const ExchangeTrips = 2000

// Works lists the works in the order of the tables.
func Works() []Work {
	var works []Work
	for _, s := range []struct{ m, n, k, transA, transB int }{
		{512, 512, 512, 0, 0},
		{1024, 1024, 1024, 0, 0},
		{2048, 2048, 2048, 0, 0},
		{2048, 2048, 2048, 0, 1},
		{2048, 2048, 2048, 1, 0},
		{50176, 64, 576, 0, 0}, // a 3×3 convolution of 64 images as one product
		{12544, 128, 1152, 0, 0},
		{12544, 256, 2304, 0, 0},
		{512, 256, 256, 0, 0}, // a layer of the perceptron: forward, gradient of its input, gradient of its weights
		{512, 256, 256, 0, 1},
		{256, 256, 512, 1, 0},
	} {
		form := []string{"NN", "NT", "TN", "TT"}[2*s.transA+s.transB]
		works = append(works, Work{
			Name: fmt.Sprintf("GEMM %s %d×%d×%d", form, s.m, s.n, s.k), Kind: "gemm",
			Args:  map[string]int{"m": s.m, "n": s.n, "k": s.k, "trans_a": s.transA, "trans_b": s.transB},
			Flop:  2 * float64(s.m) * float64(s.n) * float64(s.k),
			Peers: []string{"mm", "onednn"},
		})
	}
	for _, s := range []struct {
		kernel, stride, batch, inputs, outputs, size, direct int
	}{
		{3, 1, 64, 64, 64, 28, 0},
		{3, 1, 64, 128, 128, 14, 0},
		{3, 1, 64, 256, 256, 7, 0},
		{3, 1, 64, 64, 64, 28, 1},
		{3, 1, 64, 128, 128, 14, 1},
		{3, 1, 64, 256, 256, 7, 1},
		{3, 1, 64, 32, 32, 28, 0}, // the sizes of the presets
		{3, 1, 64, 64, 64, 14, 0},
		{3, 1, 64, 128, 128, 7, 0},
		{3, 1, 64, 1, 64, 28, 0},
		{3, 2, 64, 64, 64, 28, 0},
		{1, 1, 64, 128, 64, 28, 0},
	} {
		for gradients := range 2 {
			works = append(works, convolutionWork(s.kernel, s.stride, s.batch, s.inputs, s.outputs, s.size, gradients, s.direct))
		}
	}
	works = append(works, stableConvolutions()...)
	works = append(works, transformerWorks()...)
	works = append(works, Work{Name: "MLP training step 512×3×256, Adam", Kind: "mlp_train",
		Args: map[string]int{"batch": 512, "width": 256, "depth": 3}, Peers: []string{"eager", "compile", "compile autotune"}})
	for _, s := range []struct {
		width, batch int
		flop         float64 // of products and convolutions, per image and evaluation
	}{{64, 64, 958501888}, {32, 64, 240691712}, {32, 16, 240691712}} {
		args := map[string]int{"width": s.width, "heads": 4, "batch": s.batch, "size": 28}
		what := fmt.Sprintf("step, width %d, batch %d, 28×28", s.width, s.batch)
		works = append(works,
			Work{Name: "U-Net training " + what, Kind: "unet_train", Args: args, Memory: true, Flop: 3 * s.flop * float64(s.batch),
				Peers: []string{"nchw", "nhwc", "compile nchw", "compile nhwc"}},
			Work{Name: "U-Net sampling " + what, Kind: "unet_sample", Args: args, Memory: true, Flop: s.flop * float64(s.batch),
				Peers: []string{"nchw", "nhwc", "compile nchw", "compile nhwc", "freeze compile nhwc"}})
	}
	works = append(works, mnistWorks()...)
	works = append(works, stableWorks()...)
	return append(works, Work{Name: "importance fine-tuning, toy, preset quick", Kind: "importance",
		Args:  map[string]int{"iterations": 16, "paths": 1024, "updates": 120, "batch": 256, "samples": 10000, "pretraining": 2500},
		Peers: []string{"eager", "compile", "compile autotune"}})
}

// convolutionWork is a convolution of square pictures, with gradients of input and kernel if gradients is 1, without Winograd's method if direct is 1.
func convolutionWork(kernel, stride, batch, inputs, outputs, size, gradients, direct int) Work {
	what := []string{"forward", "forward and gradients"}[gradients]
	if direct != 0 {
		what += ", direct"
	}
	side := (size + stride - 1) / stride
	return Work{
		Name: fmt.Sprintf("conv %d×%d/%d %d×%d→%d×%d² %s", kernel, kernel, stride, batch, inputs, outputs, size, what), Kind: "conv",
		Args: map[string]int{"batch": batch, "inputs": inputs, "outputs": outputs, "size": size,
			"kernel": kernel, "stride": stride, "gradients": gradients, "direct": direct},
		Flop:  float64(1+2*gradients) * 2 * float64(batch*side*side*kernel*kernel) * float64(inputs*outputs),
		Peers: []string{"nchw", "nhwc", "compile nhwc"},
	}
}

// builders make one step of a kind of work on a backend.
var builders = map[string]func(backend string, args map[string]int) (step func() error, err error){
	"peak":           peak,
	"exchange":       exchange,
	"gemm":           product,
	"conv":           convolution,
	"attention":      attention,
	"layer_norm":     layerNorm,
	"geglu":          geglu,
	"mlp_train":      perceptron,
	"unet_train":     unetTraining,
	"unet_sample":    unetSampling,
	"mnist_pretrain": mnistPretraining,
	"mnist_finetune": mnistFineTuning,
	"mnist_sample":   mnistSampling,
	"importance":     importance,
	"sd_unet":        stableUNet,
	"sd_lora":        adapterTraining,
}

// Build prepares a work on the named backend of package engine and returns one iteration of it.
func (w Work) Build(backend string) (step func() error, err error) {
	build, ok := builders[w.Kind]
	if !ok {
		return nil, fmt.Errorf("bench: unknown kind of work %q: want one of %v", w.Kind, slices.Sorted(maps.Keys(builders)))
	}
	return build(backend, w.Args)
}
