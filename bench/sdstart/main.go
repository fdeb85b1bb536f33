// Command sdstart measures how long a model in diffusers' layout takes to its first step, and the memory of that, beside what is planned.
//
//	go run ./bench/sdfolder -o DIR
//	go run ./bench/sdstart -model DIR [-precision f32|f16|bf16] [-batch 2] [-latent 64] [-times 2]
//
// A step is one evaluation of the U-Net; batch 2 is one picture with guidance. The text encoder and the autoencoder are not loaded.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/sd"
)

type options struct {
	model, precision, backend string
	batch, latent, times      int
	plan                      bool
}

func main() {
	var o options
	flag.StringVar(&o.model, "model", "", "the folder of the model")
	flag.StringVar(&o.precision, "precision", "", "how weights are held: f32, f16, bf16; nothing for that of the files")
	flag.StringVar(&o.backend, "backend", "", "backend of package engine")
	flag.IntVar(&o.batch, "batch", 2, "latents in a step")
	flag.IntVar(&o.latent, "latent", 64, "side of a latent")
	flag.IntVar(&o.times, "times", 2, "steps")
	flag.BoolVar(&o.plan, "plan", false, "plan only: no weights are read")
	flag.Parse()
	if err := o.run(); err != nil {
		fmt.Fprintln(os.Stderr, "sdstart:", err)
		os.Exit(1)
	}
}

func (o options) run() error {
	start := time.Now()
	lap := func(what string) {
		peak, _ := machine.Peak()
		fmt.Printf("%-28s %7.2f s  resident %5.2f GB  peak %5.2f GB\n", what, time.Since(start).Seconds(), machine.Resident()/1e9, peak/1e9)
	}
	f, err := sd.Open(o.model)
	if err != nil {
		return err
	}
	w, err := f.UNetWeights()
	if err != nil {
		return err
	}
	defer w.Close()
	w.Precision = engine.Precision(o.precision)
	e, err := engine.Open(o.backend)
	if err != nil {
		return err
	}
	lap("opened")
	network := func(m *sd.Modules) func(in []*graph.Node) []*graph.Node {
		return func(in []*graph.Node) []*graph.Node { return []*graph.Node{f.UNet.Apply(*m, in[0], in[1], in[2])} }
	}
	x := []int{o.batch, o.latent, o.latent, f.UNet.Channels}
	text := []int{o.batch, f.Text.Positions, f.Text.Width}

	planner := e.Fork()
	m, err := w.Declare(planner.Scope("/unet"), nil)
	if err != nil {
		return err
	}
	planned, err := planner.Memory(network(&m), shapes.Make(dtypes.Float32, x...), shapes.Make(dtypes.Int32, 1), shapes.Make(dtypes.Float32, text...))
	if err != nil {
		return err
	}
	lap("planned")
	fmt.Printf("plan: weights %.2f GB, a step %.2f GB\n", float64(planned.Parameters)/1e9, float64(planned.Arguments+planned.Working)/1e9)
	if o.plan {
		return nil
	}
	if m, err = w.Load(e.Scope("/unet"), nil); err != nil {
		return err
	}
	lap("loaded")
	program, err := e.Compile(network(&m))
	if err != nil {
		return err
	}
	latents, states := tensors.FromFlatDataAndDimensions(numbers(x), x...), tensors.FromFlatDataAndDimensions(numbers(text), text...)
	for i := range o.times {
		out, err := program.Run(latents, []int32{500}, states)
		if err != nil {
			return err
		}
		y := make([]float32, engine.Size(x))
		if err := engine.Floats(y, out[0]); err != nil {
			return err
		}
		lap(fmt.Sprintf("step %d, y[0] = %.4f", i+1, y[0]))
	}
	return nil
}

// numbers are from −1 to 1.
func numbers(dims []int) []float32 {
	v := make([]float32, engine.Size(dims))
	x := uint64(1)
	for i := range v {
		x = x*6364136223846793005 + 1442695040888963407
		v[i] = float32(int32(x>>32)) * 0x1p-31
	}
	return v
}
