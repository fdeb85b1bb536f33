// Command gpu checks and times one part of what doob does on a device, against package cpu. The script bench/gpu.sh runs all parts, one process each.
//
//	gpu [-backend xla:/path/to/plugin.so] [-small] attention | donation | unet f32 | unet f16 | unet bf16 | lora
//
// It fails if a part computes something else than package cpu does. Networks have random weights: no files are needed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/engine"
)

// options say where and at which size a part runs.
type options struct {
	backend string
	small   bool
}

func main() {
	var o options
	flag.StringVar(&o.backend, "backend", "", "backend of package engine, such as xla:/path/to/plugin.so in a build with the tag xla")
	flag.BoolVar(&o.small, "small", false, "small sizes, to try the program itself")
	flag.Parse()
	if err := o.run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "gpu:", err)
		os.Exit(1)
	}
}

func (o options) run(args []string) error {
	switch strings.Join(args, " ") {
	case "attention":
		return o.attention()
	case "donation":
		return o.donation()
	case "unet f32", "unet f16", "unet bf16":
		return o.unet(engine.Precision(args[1]))
	case "lora":
		return o.lora()
	}
	return fmt.Errorf("got the part %q, expected attention, donation, unet f32, unet f16, unet bf16 or lora", strings.Join(args, " "))
}

// size returns the first number, or the second one with small sizes.
func (o options) size(full, small int) int {
	if o.small {
		return small
	}
	return full
}

// tolerance is how far off, as a part of the largest entry, networks may be: CUDA rounds the factors of float32 products to 11 significant bits.
func (o options) tolerance() float64 {
	if strings.Contains(strings.ToLower(o.backend), "cuda") {
		return 1e-2
	}
	return 1e-4
}

// say prints what was done and how long that took.
func say(since time.Time, format string, args ...any) {
	fmt.Printf("%7.3f s  %s\n", time.Since(since).Seconds(), fmt.Sprintf(format, args...))
}

// kind is the name of a backend without its configuration.
func kind(backend string) string {
	name, _, _ := strings.Cut(backend, ":")
	return name
}

var errWrong = errors.New("wrong")

// compare prints and checks by what part of the largest entry numbers are off.
func compare(what string, got, want []float32, tolerance float64) error {
	part := off(got, want)
	fmt.Printf("           %s: off by %.1e of the largest entry\n", what, part)
	return within(what, part, tolerance)
}

// off returns by what part of the largest entry of want an entry of got is off, at most. NaN stays.
func off(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.NaN()
	}
	var worst, largest float64
	for i, w := range want {
		largest = max(largest, math.Abs(float64(w)))
		worst = max(worst, math.Abs(float64(got[i])-float64(w)))
	}
	return worst / largest
}

func within(what string, part, tolerance float64) error {
	if !(part <= tolerance) {
		return fmt.Errorf("%s: %w: off by %.1e of the largest entry, expected at most %.0e", what, errWrong, part, tolerance)
	}
	return nil
}
