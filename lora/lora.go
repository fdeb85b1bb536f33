// Package lora reads and writes low-rank adapters (Hu et al. 2021) of Stable Diffusion: for a linear map W of a model, W + scale·B·A.
//
// There are five spellings of the same file, by the libraries PEFT and diffusers (three) and by the trainer kohya. All are read; [PEFT], [Diffusers]
// and [Kohya] are written. They do not agree on where alpha stands, of which scale = alpha/rank: some cannot hold it, some loaders drop it. What is
// written here therefore has the scale in B, one rank, and alpha = rank, so that it means the same to every loader. Pairs of smaller rank have zeros:
// diffusers 0.42 takes a wrong scale for some of a kohya file with several ranks.
package lora

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

var (
	// ErrUnsupported says that a file is no plain low-rank adapter of Stable Diffusion 1.x or 2.x.
	ErrUnsupported = errors.New("unsupported adapter")
	// ErrModel says that an adapter is of another model.
	ErrModel = errors.New("adapter of another model")
	// ErrCorrupt says that a file contradicts itself or has numbers that are not finite.
	ErrCorrupt = errors.New("corrupt adapter")
)

// Pair changes one linear map, or one convolution of kernel 1×1.
type Pair struct {
	Rank, In, Out int
	A             []float32 // "down" [Rank, In]
	B             []float32 // "up" [Out, Rank]
	Scale         float64
	Convolution   bool
}

// Adapter changes maps of a U-Net and of a text encoder, by the names of modules in today's libraries. The zero Adapter changes nothing.
type Adapter struct {
	UNet, Text map[string]Pair
}

// Model is what an adapter can change: the shapes of tensors by their names, such as [sd.UNet.Tensors] and [sd.TextEncoder.Tensors] give them. Names of
// tensors are those of modules and ".weight".
//
// [sd.UNet.Tensors]: https://pkg.go.dev/github.com/doob-diffusion/doob/sd#UNet.Tensors
// [sd.TextEncoder.Tensors]: https://pkg.go.dev/github.com/doob-diffusion/doob/sd#TextEncoder.Tensors
type Model struct {
	UNet, Text map[string][]int
}

// Delta returns scale·B·A, [Out, In], with sums in float64.
func (p Pair) Delta() []float32 {
	d := make([]float32, p.Out*p.In)
	for o := range p.Out {
		for i := range p.In {
			var sum float64
			for r := range p.Rank {
				sum += float64(p.B[o*p.Rank+r]) * float64(p.A[r*p.In+i])
			}
			d[o*p.In+i] = float32(p.Scale * sum)
		}
	}
	return d
}

// Parameters returns how many numbers are trained.
func (a Adapter) Parameters() (n int) {
	for _, part := range []map[string]Pair{a.UNet, a.Text} {
		for _, p := range part {
			n += p.Rank * (p.In + p.Out)
		}
	}
	return n
}

// Ranks returns the ranks that there are, rising.
func (a Adapter) Ranks() []int {
	ranks := map[int]bool{}
	for _, part := range []map[string]Pair{a.UNet, a.Text} {
		for _, p := range part {
			ranks[p.Rank] = true
		}
	}
	return slices.Sorted(maps.Keys(ranks))
}

// plain returns the pair with its scale in B, and with zeros up to a rank.
func (p Pair) plain(rank int) Pair {
	a, b := make([]float32, rank*p.In), make([]float32, p.Out*rank)
	copy(a, p.A)
	for o := range p.Out {
		for r := range p.Rank {
			b[o*rank+r] = float32(p.Scale * float64(p.B[o*p.Rank+r]))
		}
	}
	p.A, p.B, p.Rank, p.Scale = a, b, rank, 1
	return p
}

// check compares a pair with the shape of the map that it changes.
func (p Pair) check(shape []int) error {
	if len(shape) != 2 && !(len(shape) == 4 && shape[2] == 1 && shape[3] == 1) {
		return fmt.Errorf("%w: it changes a tensor of shape %v, supported are linear maps and convolutions of kernel 1×1", ErrUnsupported, shape)
	}
	if p.Out != shape[0] || p.In != shape[1] {
		return fmt.Errorf("%w: it is for a map [%d, %d], the model's is [%d, %d]", ErrModel, p.Out, p.In, shape[0], shape[1])
	}
	return nil
}
