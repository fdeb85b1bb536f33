package nn

import (
	"fmt"
	"strings"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/op"
)

// UNet is the network of Ho et al. (2020) from images and times to images of the same size: residual blocks with group
// normalisation at several resolutions, self-attention at the lowest, and skip connections across.
//
// With L levels of Width·Multipliers[l] channels, level l at 2⁻ˡ of the resolution:
//
//	way down   for l below L−1: Blocks residual blocks, each of whose results is also kept; convolution 3×3 of stride 2
//	bottom     level L−1: Bottom residual blocks, each followed by attention
//	way up     for l from L−2: repeat pixels 2×2; convolution 3×3; Blocks residual blocks, each of which gets what its
//	           counterpart on the way down kept as further channels
//	out        a(x), convolution 3×3
//
// A residual block of a level with c channels, given the time embedding e, is
//
//	x ↦ skip(x) + conv₁(a₁(conv₀(a₀(x)))),   skip: 1×1 convolution, or x if it has c channels
//	a(x) = SiLU(norm(x)·(1 + s) + b),   (s, b) = dense(e)
//
// with another dense layer in every a: the adaptive normalisation of Dhariwal & Nichol (2021), here also before the first
// convolution and at the end. What to denoise with depends on the noise level, and this is how the network knows it. And
// e = SiLU(dense(SiLU(dense(sinusoids of t)))), of 4·Width numbers.
type UNet struct {
	// Scope holds the parameters.
	Scope *model.Scope `yaml:"-" json:"-"`
	// In and Out are the channels of the images.
	In  int `yaml:"-" json:"-"`
	Out int `yaml:"-" json:"-"`
	// Width is the number of channels of level 0 for a multiplier of 1.
	Width int `yaml:"width"`
	// Multipliers give every level its width; nil means 1, 2, 4.
	Multipliers []int `yaml:"multipliers"`
	// Blocks is the number of residual blocks per level and direction; 0 means 1.
	Blocks int `yaml:"blocks"`
	// Heads is the number of attention heads, a divisor of the channels; 0 means 1.
	Heads int `yaml:"heads"`
	// Patch is the side of the squares of pixels that are one position of level 0, with a channel for every pixel
	// (space-to-depth): it saves the most expensive resolutions. 0 means 1.
	Patch int `yaml:"patch"`
	// Bottom is the number of residual blocks of the lowest level, where they are cheap and see the whole image; 0 means
	// Blocks.
	Bottom int `yaml:"bottom" json:",omitempty"`
	// Checkpoint has the residual blocks computed again in the backward pass, which then needs the memory of one block
	// instead of all. Results are the same, up to the order in which gradients are added.
	Checkpoint bool `yaml:"checkpoint" json:",omitempty"`
	// Attention lists further levels with attention after every residual block. The lowest level always has it.
	Attention []int `yaml:"-" json:"-"`
	// Groups is that of the normalisations, a divisor of the channels. 0 means 32, halved until it divides the channels
	// of a layer with at least 4 in a group.
	Groups int `yaml:"-" json:"-"`
}

// Init implements [Network]: weights N(0, 1/fan-in) and biases zero; but the last convolution of every residual block
// and the last product of every attention start at zero, so that each is the identity (or its skip), and so does what is
// made of the time.
func (u UNet) Init(key noise.Key, last, bias float64) Network {
	u.check()
	for _, l := range u.layers() {
		s := u.Scope
		for name := range strings.SplitSeq(l.path, "/") {
			s = s.At("%s", name)
		}
		scale, offset := 1.0, 0.0
		switch l.start {
		case identity:
			scale = 0
		case output:
			scale, offset = last, bias
		}
		switch l.kind {
		case normalisation:
			constant(s, "scale", 1, l.in)
			constant(s, "bias", 0, l.in)
		case adaptive:
			dense(s, key, l.in, 2*l.out, scale, 0)
		case convolution:
			normal(s, key, scale, 3, 3, l.in, l.out)
			constant(s, "bias", offset, l.out)
		case position, image:
			dense(s, key, l.in, l.out, scale, 0)
		}
	}
	return u
}

// At returns the same network with its parameters in another scope, such as that of their averages.
func (u UNet) At(s *model.Scope) UNet {
	u.Scope = s
	return u
}

// Apply implements [Network] at images [batch, height, width, …], whose channels are In together, as [batch, height, width,
// Out]. Height and width must be multiples of Patch, and then even at every level but the lowest.
func (u UNet) Apply(t *graph.Node, images ...*graph.Node) *graph.Node {
	u.check()
	x := graph.Concatenate(images, -1)
	dims := x.Shape().Dimensions
	if len(dims) != 4 || dims[3] != u.In {
		panic(fmt.Errorf("nn: U-Net of x %s: want [batch, height, width, %d]", x.Shape(), u.In))
	}
	u.checkSize(dims[1], dims[2])
	x = spaceToDepth(x, u.patch())
	e := op.Sinusoids(graph.BroadcastToDims(t, dims[0]), u.Width)
	for i := range 2 {
		e = op.SiLU(affine(u.Scope.At("time_%d", i), e))
	}
	x = conv(u.Scope.At("in"), x, 1)
	lowest := len(u.multipliers()) - 1
	var kept []*graph.Node
	for level := range lowest {
		s := u.Scope.At("down_%d", level)
		for i := range u.blocks() {
			x = u.block(s, i, level, e, x)
			kept = append(kept, x)
		}
		x = conv(s.At("resample"), x, 2)
	}
	for i := range u.bottom() {
		x = u.block(u.Scope.At("bottom"), i, lowest, e, x)
	}
	for level := lowest - 1; level >= 0; level-- {
		s := u.Scope.At("up_%d", level)
		x = u.segment(func(x *graph.Node) *graph.Node { return conv(s.At("resample"), op.Upsample(x, 2), 1) }, x)
		for i := range u.blocks() {
			last := len(kept) - 1
			x = u.block(s, i, level, e, x, kept[last])
			kept = kept[:last]
		}
	}
	s := u.Scope.At("out")
	x = u.segment(func(x *graph.Node) *graph.Node {
		return conv(s.At("conv"), u.adaptive(s.At("norm"), e, x), 1)
	}, x)
	return depthToSpace(x, u.patch())
}

// Parameters implements [Network].
func (u UNet) Parameters() []*model.Variable { return below(u.Scope) }

// Within implements [Network].
func (u UNet) Within(place func(*model.Scope) *model.Scope) Network { return u.At(place(u.Scope)) }

// spaceToDepth makes channels of every patch×patch pixels: [batch, h, w, c] to [batch, h/patch, w/patch, patch²·c].
func spaceToDepth(x *graph.Node, patch int) *graph.Node {
	if patch == 1 {
		return x
	}
	d := x.Shape().Dimensions
	x = graph.Reshape(x, d[0], d[1]/patch, patch, d[2]/patch, patch, d[3])
	return graph.Reshape(graph.TransposeAllAxes(x, 0, 1, 3, 2, 4, 5), d[0], d[1]/patch, d[2]/patch, patch*patch*d[3])
}

// depthToSpace is the inverse of spaceToDepth.
func depthToSpace(x *graph.Node, patch int) *graph.Node {
	if patch == 1 {
		return x
	}
	d := x.Shape().Dimensions
	c := d[3] / (patch * patch)
	x = graph.Reshape(x, d[0], d[1], d[2], patch, patch, c)
	return graph.Reshape(graph.TransposeAllAxes(x, 0, 1, 3, 2, 4, 5), d[0], d[1]*patch, d[2]*patch, c)
}

// block is residual block i of a level, and the attention after it, below s, given the channels of all inputs.
func (u UNet) block(s *model.Scope, i, level int, e *graph.Node, inputs ...*graph.Node) *graph.Node {
	b := s.At("block_%d", i)
	return u.segment(func(x *graph.Node) *graph.Node {
		h := conv(b.At("conv_0"), u.adaptive(b.At("norm_0"), e, x), 1)
		h = conv(b.At("conv_1"), u.adaptive(b.At("norm_1"), e, h), 1)
		if x.Shape().Dimensions[3] != u.channels(level) {
			x = pixelwise(b.At("skip"), x)
		}
		x = graph.Add(h, x)
		if u.attends(level) {
			x = u.attention(s.At("attention_%d", i), x)
		}
		return x
	}, inputs...)
}

// segment is fn of the channels of all inputs, computed again in the backward pass with Checkpoint.
func (u UNet) segment(fn func(x *graph.Node) *graph.Node, inputs ...*graph.Node) *graph.Node {
	joined := func(inputs []*graph.Node) *graph.Node { return fn(graph.Concatenate(inputs, -1)) }
	if u.Checkpoint {
		return op.Recomputed(joined, inputs)
	}
	return joined(inputs)
}

// attention adds to every position of x [batch, height, width, channels] what it attends to.
func (u UNet) attention(s *model.Scope, x *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	norm := s.At("norm")
	h := graph.Reshape(u.norm(x, parameter(norm, "scale", x), parameter(norm, "bias", x), false), -1, d[3])
	project := func(name string) *graph.Node {
		return graph.Reshape(affine(s.At("%s", name), h), d[0], d[1]*d[2], u.heads(), d[3]/u.heads())
	}
	h = op.Attention(project("query"), project("key"), project("value"))
	h = affine(s.At("out"), graph.Reshape(h, -1, d[3]))
	return graph.Reshape(graph.Add(h, graph.Reshape(x, -1, d[3])), d...)
}

// adaptive is SiLU of the normalised x, with scale and bias made of the time embedding e.
func (u UNet) adaptive(s *model.Scope, e, x *graph.Node) *graph.Node {
	channels := x.Shape().Dimensions[3]
	made := affine(s, e)
	scale := graph.OnePlus(graph.Slice(made, graph.AxisRange(), graph.AxisRange(0, channels)))
	return u.norm(x, scale, graph.Slice(made, graph.AxisRange(), graph.AxisRange(channels)), true)
}

// norm is group normalisation of x, with or without SiLU.
func (u UNet) norm(x, scale, bias *graph.Node, silu bool) *graph.Node {
	const epsilon = 1e-5
	return op.GroupNorm(x, scale, bias, u.groups(x.Shape().Dimensions[3]), epsilon, silu)
}

// conv is the 3×3 convolution of x with the parameters of s.
func conv(s *model.Scope, x *graph.Node, stride int) *graph.Node {
	return op.Conv(x, parameter(s, "weights", x), parameter(s, "bias", x), stride, op.Same(3))
}

// pixelwise is a 1×1 convolution of x with the parameters of s.
func pixelwise(s *model.Scope, x *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	y := affine(s, graph.Reshape(x, -1, d[3]))
	return graph.Reshape(y, d[0], d[1], d[2], y.Shape().Dimensions[1])
}
