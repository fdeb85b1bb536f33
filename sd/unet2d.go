package sd

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/op"
)

// UNet2D is the configuration of a UNet2DModel, the U-Net of pictures without texts (Ho et al. 2020). Levels go from the finest to the coarsest.
type UNet2D struct {
	Channels      int    // of a picture
	Widths        []int  // channels at each level
	Layers        int    // residual blocks at each level on the way down; one more on the way up
	HeadWidth     int    // channels of an attention head; 0 for one head of full width
	AttendDown    []bool // whether a level has attention on the way down
	AttendUp      []bool // and on the way up; coarsest level first
	AttendMiddle  bool   // whether there is attention between both
	Groups        int    // of group normalisations
	Epsilon       float64
	CosineFirst   bool    // of the sinusoidal features of time
	FreqShift     float64 // of their frequencies
	PadAround     bool    // whether convolutions that halve see zeros on all four sides, and not only below and on the right
	Centred       bool    // whether it takes 2x − 1 for x
	Height, Width int     // of the pictures that it was trained on; 0 if not known
}

// Apply returns what the U-Net predicts of pictures x [batch, height, width, Channels], shaped like them. Timesteps t are [batch] or [1], whole numbers
// from 0 on; sides are multiples of [UNet2D.Factor].
func (u UNet2D) Apply(m Modules, x, t *graph.Node) *graph.Node {
	if d := x.Shape().Dimensions; len(d) != 4 || d[3] != u.Channels || d[1]%u.Factor() != 0 || d[2]%u.Factor() != 0 {
		panic(fmt.Errorf("sd: U-Net of pictures %s: want [batch, height, width, %d] with sides that are multiples of %d", x.Shape(), u.Channels, u.Factor()))
	}
	if u.Centred {
		x = graph.AddScalar(graph.MulScalar(x, 2), -1)
	}
	return u.backbone().of(m, x, t, func(name string, level int, x *graph.Node) *graph.Node {
		return m.selfAttention(name, u.heads(level), u.Groups, u.Epsilon, x)
	})
}

// Factor is by how much the coarsest level is smaller than the picture.
func (u UNet2D) Factor() int { return 1 << (len(u.Widths) - 1) }

func (u UNet2D) heads(level int) int {
	if u.HeadWidth == 0 {
		return 1
	}
	return u.Widths[level] / u.HeadWidth
}

// Tensors returns the shape of every tensor of the network, by its name in the files of diffusers today.
func (u UNet2D) Tensors() map[string][]int {
	return u.backbone().tensors(u.Channels, table.selfAttention)
}

func (u UNet2D) backbone() backbone {
	halving := op.Padding{{0, 1}, {0, 1}}
	if u.PadAround {
		halving = op.Same(3)
	}
	return backbone{widths: u.Widths, layers: u.Layers, attendDown: u.AttendDown, attendUp: u.AttendUp, attendMiddle: u.AttendMiddle, groups: u.Groups,
		epsilon: u.Epsilon, cosineFirst: u.CosineFirst, freqShift: u.FreqShift, halving: halving}
}

// Unguided is such a U-Net as a model of pictures. The process must be a [diffusion.Discrete], such as [Schedule.Process].
type Unguided struct {
	UNet       UNet2D
	Modules    Modules
	Prediction diffusion.Prediction
}

var _ diffusion.Model = Unguided{}

// Noise implements [diffusion.Model].
func (m Unguided) Noise(s diffusion.State) *graph.Node {
	return m.Prediction.NoiseOf(s, m.UNet.Apply(m.Modules, s.X, level(s)))
}

// level returns the noise levels that the times of a state stand for.
func level(s diffusion.State) *graph.Node {
	p, ok := s.Process.(*diffusion.Discrete)
	if !ok {
		panic(fmt.Errorf("sd: a U-Net knows numbered noise levels, but the process is a %T: want a *diffusion.Discrete, such as that of Schedule.Process", s.Process))
	}
	return graph.MaxScalar(p.LevelGraph(s.T), 0)
}
