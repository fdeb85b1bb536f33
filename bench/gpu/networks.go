package main

import (
	"fmt"
	"math"
	"time"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/bench"
	"github.com/doob-diffusion/doob/engine"
)

const repeats = 5 // of a step that is timed

// unet times an evaluation of the U-Net of Stable Diffusion 1.5 with guidance, batch 2, whose weights are held in a precision.
func (o options) unet(p engine.Precision) error {
	const batch = 2
	width, side := o.size(320, 32), o.size(64, 16)
	prepare := func(backend string) (func() ([]float32, error), error) {
		start := time.Now()
		e, u, m, err := bench.LoadStable(backend, width, p)
		if err != nil {
			return nil, err
		}
		say(start, "%s: weights loaded, %s", kind(backend), p)
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{u.Apply(m, in[0], in[1], in[2])} })
		if err != nil {
			return nil, err
		}
		in := bench.StableInputs(u, batch, side)
		return func() ([]float32, error) {
			out, err := program.Run(in...)
			if err != nil {
				return nil, err
			}
			y := make([]float32, batch*side*side*u.Channels)
			return y, engine.Floats(y, out[0]) // waits for the device
		}, nil
	}
	watch := startWatch()
	step, err := prepare(o.backend)
	if err != nil {
		return err
	}
	start := time.Now()
	got, err := step()
	if err != nil {
		return err
	}
	say(start, "first step: compiled and run")
	if err := timed("a step", func() error { _, err := step(); return err }); err != nil {
		return err
	}
	fmt.Println("          ", watch.stop())

	if step, err = prepare(engine.Default); err != nil {
		return err
	}
	want, err := step()
	if err != nil {
		return err
	}
	return compare("U-Net, "+string(p), got, want, o.tolerance())
}

// lora times a training step of an adapter of rank 4 on all attention layers of that U-Net, batch 1, with checkpointing. The losses of the first steps, the
// later of which depend on the updates, are those of package cpu.
func (o options) lora() error {
	const compared = 3
	prepare := func(backend string) (func() (float64, error), error) {
		start := time.Now()
		step, err := bench.AdapterTraining(backend, o.size(320, 32), 1, o.size(64, 16), 4)
		if err == nil {
			say(start, "%s: weights loaded", kind(backend))
		}
		return step, err
	}
	watch := startWatch()
	step, err := prepare(o.backend)
	if err != nil {
		return err
	}
	var got [compared]float64
	for i := range got {
		start := time.Now()
		if got[i], err = step(); err != nil {
			return err
		}
		say(start, "step %d, loss %.6f", i+1, got[i])
	}
	if err := timed("a step", func() error { _, err := step(); return err }); err != nil {
		return err
	}
	fmt.Println("          ", watch.stop())

	if step, err = prepare(engine.Default); err != nil {
		return err
	}
	for i := range got {
		want, err := step()
		if err != nil {
			return err
		}
		if off := math.Abs(got[i]-want) / want; !(off <= o.tolerance()) {
			return fmt.Errorf("loss of step %d: %w: %.6f, expected %.6f", i+1, errWrong, got[i], want)
		}
		fmt.Printf("           loss of step %d on %s: %.6f\n", i+1, engine.Default, want)
	}
	return nil
}

// timed prints the mean duration of a step.
func timed(what string, step func() error) error {
	start := time.Now()
	for range repeats {
		if err := step(); err != nil {
			return err
		}
	}
	fmt.Printf("%7.3f s  %s, mean of %d\n", time.Since(start).Seconds()/repeats, what, repeats)
	return nil
}
