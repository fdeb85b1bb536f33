package sd

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// Apply returns what the U-Net predicts of latents x [batch, height, width, Channels], shaped like them: the noise, or the velocity, as the model was
// trained. Timesteps t are [batch] or [1], whole numbers from 0 to 999; text is [batch, tokens, Context]. Sides need not be multiples of anything.
func (u UNet) Apply(m Modules, x, t, text *graph.Node) *graph.Node {
	d, states := x.Shape().Dimensions, text.Shape().Dimensions
	if len(d) != 4 || d[3] != u.Channels || len(states) != 3 || states[0] != d[0] || states[2] != u.Context {
		panic(fmt.Errorf("sd: U-Net of latents %s and text %s: want [batch, height, width, %d] and [batch, tokens, %d]", x.Shape(), text.Shape(), u.Channels, u.Context))
	}
	return u.backbone().of(m, x, t, func(name string, level int, x *graph.Node) *graph.Node {
		return u.attend(m, name, u.Heads[level], x, text)
	})
}

func (u UNet) backbone() backbone {
	return backbone{widths: u.Widths, layers: u.Layers, attendDown: u.AttendDown, attendUp: u.AttendUp, attendMiddle: true, groups: u.Groups, epsilon: u.Epsilon,
		cosineFirst: u.CosineFirst, freqShift: u.FreqShift, halving: op.Same(3)}
}
