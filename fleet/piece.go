package fleet

import (
	"bytes"
	"fmt"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
)

// encode writes a piece as safetensors.
func encode(p diffusion.Piece) ([]byte, error) {
	steps := len(p.Spent) / max(1, p.N)
	tensors := map[string]checkpoint.Tensor{
		"x":         {Shape: []int{p.N, p.Dim}, F32: p.X},
		"log_ratio": {Shape: []int{p.N}, F64: p.LogRatio},
		"energy":    {Shape: []int{p.N}, F64: p.Energy},
		"spent":     {Shape: []int{steps, p.N}, F64: p.Spent},
	}
	if p.Given != nil {
		tensors["given"] = checkpoint.Tensor{Shape: []int{p.N, len(p.Given) / max(1, p.N)}, F32: p.Given}
	}
	if p.States != nil {
		tensors["states"] = checkpoint.Tensor{Shape: []int{steps, p.N, p.Dim}, F32: p.States}
		tensors["controls"] = checkpoint.Tensor{Shape: []int{steps, p.N, p.Dim}, F32: p.Controls}
	}
	var b bytes.Buffer
	err := checkpoint.Write(&b, checkpoint.File{Tensors: tensors})
	return b.Bytes(), err
}

// decode reads what encode has written, the piece that begins at a path. Whether it is one of the simulation is for [diffusion.Sampler.CheckPiece].
func decode(data []byte, from int) (p diffusion.Piece, err error) {
	f, err := checkpoint.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return p, err
	}
	x := f.Tensors["x"]
	if len(x.Shape) != 2 {
		return p, fmt.Errorf("fleet: a piece whose x has shape %v, want [paths, numbers]", x.Shape)
	}
	p = diffusion.Piece{From: from, Spent: f.Tensors["spent"].F64, States: f.Tensors["states"].F32, Controls: f.Tensors["controls"].F32}
	p.N, p.Dim, p.X, p.LogRatio, p.Energy = x.Shape[0], x.Shape[1], x.F32, f.Tensors["log_ratio"].F64, f.Tensors["energy"].F64
	p.Given = f.Tensors["given"].F32
	return p, nil
}

// bytesOf is about what one path of a sampler takes in a result.
func bytesOf(s *diffusion.Sampler, states bool) int {
	dim := engine.Size(s.Shape)
	n := 4*dim + 16 + 8*len(s.Steps)
	if s.Given != nil {
		n += 4 * s.Given.Dim()
	}
	if states {
		n += 8 * dim * len(s.Steps)
	}
	return n
}
