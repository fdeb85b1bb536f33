package nn

import (
	"fmt"
	"slices"
)

// layer is one layer of a [UNet].
type layer struct {
	path    string // of its parameters, in the scope of the network
	kind    kind
	in, out int // channels
	level   int // of its result
	start   start
}

type kind int

const (
	normalisation kind = iota // scale, bias [in]
	adaptive                  // of out channels, scale and bias from the time: weights [in, 2·out], bias [2·out]
	convolution               // weights [3, 3, in, out], bias [out]
	position                  // weights [in, out], bias [out], at every position: a 1×1 convolution
	image                     // the same, once for an image
	attention                 // no parameters: the two products of the weights of all pairs of positions
)

type start int

const (
	random   start = iota // weights N(0, 1/fan-in), bias 0
	identity              // all 0: what it is added to passes unchanged
	output                // scaled as the caller of Init says
)

// layers lists the layers in the order of their evaluation. It is the one place that knows their sizes; [UNet.Apply]
// asks for them by name.
func (u UNet) layers() []layer {
	var out []layer
	add := func(path string, kind kind, in, to, level int, start start) {
		out = append(out, layer{path, kind, in, to, level, start})
	}
	block := func(s string, i, in, level int) {
		b, c := fmt.Sprintf("%s/block_%d", s, i), u.channels(level)
		add(b+"/norm_0", adaptive, 4*u.Width, in, level, identity)
		add(b+"/conv_0", convolution, in, c, level, random)
		add(b+"/norm_1", adaptive, 4*u.Width, c, level, identity)
		add(b+"/conv_1", convolution, c, c, level, identity)
		if in != c {
			add(b+"/skip", position, in, c, level, random)
		}
		if u.attends(level) {
			a := fmt.Sprintf("%s/attention_%d", s, i)
			add(a+"/norm", normalisation, c, c, level, random)
			for _, name := range []string{"query", "key", "value"} {
				add(a+"/"+name, position, c, c, level, random)
			}
			add(a, attention, c, c, level, random)
			add(a+"/out", position, c, c, level, identity)
		}
	}
	add("time_0", image, u.Width, 4*u.Width, 0, random)
	add("time_1", image, 4*u.Width, 4*u.Width, 0, random)
	add("in", convolution, u.In*u.patch()*u.patch(), u.channels(0), 0, random)
	lowest := len(u.multipliers()) - 1
	c := u.channels(0)
	for level := range lowest {
		s := fmt.Sprintf("down_%d", level)
		for i := range u.blocks() {
			block(s, i, c, level)
			c = u.channels(level)
		}
		add(s+"/resample", convolution, c, c, level+1, random)
	}
	for i := range u.bottom() {
		block("bottom", i, c, lowest)
		c = u.channels(lowest)
	}
	for level := lowest - 1; level >= 0; level-- {
		s := fmt.Sprintf("up_%d", level)
		add(s+"/resample", convolution, c, u.channels(level), level, random)
		c = u.channels(level)
		for i := range u.blocks() {
			block(s, i, 2*c, level)
		}
	}
	add("out/norm", adaptive, 4*u.Width, c, 0, identity)
	add("out/conv", convolution, c, u.Out*u.patch()*u.patch(), 0, output)
	return out
}

// Size returns the number of parameters.
func (u UNet) Size() int {
	n := 0
	for _, l := range u.layers() {
		switch l.kind {
		case normalisation:
			n += 2 * l.in
		case adaptive:
			n += 2 * (l.in*l.out + l.out)
		case convolution:
			n += 9*l.in*l.out + l.out
		case position, image:
			n += l.in*l.out + l.out
		}
	}
	return n
}

// FLOPs returns the floating-point operations of one evaluation on an image of height × width: two for every
// multiplication in convolutions and matrix products; nothing for all else. A training step takes three times as many, with
// Checkpoint up to four times.
func (u UNet) FLOPs(height, width int) float64 {
	u.checkSize(height, width)
	height, width = height/u.patch(), width/u.patch()
	var n float64
	for _, l := range u.layers() {
		positions := float64((height >> l.level) * (width >> l.level))
		weights := float64(l.in) * float64(l.out)
		switch l.kind {
		case convolution:
			n += 2 * positions * 9 * weights
		case position:
			n += 2 * positions * weights
		case adaptive:
			n += 2 * 2 * weights
		case image:
			n += 2 * weights
		case attention:
			n += 2 * 2 * positions * positions * float64(l.in)
		}
	}
	return n
}

func (u UNet) multipliers() []int {
	if u.Multipliers == nil {
		return []int{1, 2, 4}
	}
	return u.Multipliers
}

func (u UNet) patch() int { return max(u.Patch, 1) }

func (u UNet) blocks() int { return max(u.Blocks, 1) }

func (u UNet) bottom() int {
	if u.Bottom == 0 {
		return u.blocks()
	}
	return u.Bottom
}

func (u UNet) heads() int { return max(u.Heads, 1) }

func (u UNet) channels(level int) int { return u.Width * u.multipliers()[level] }

func (u UNet) attends(level int) bool {
	return level == len(u.multipliers())-1 || slices.Contains(u.Attention, level)
}

func (u UNet) groups(channels int) int {
	if u.Groups > 0 {
		return u.Groups
	}
	n := 32
	for n > 1 && (channels%n != 0 || channels/n < 4) {
		n /= 2
	}
	return n
}

// check panics if the settings contradict each other.
func (u UNet) check() {
	if u.In < 1 || u.Out < 1 || u.Width < 2 || u.Width%2 != 0 || len(u.multipliers()) == 0 || slices.Min(u.multipliers()) < 1 {
		panic(fmt.Errorf("nn: U-Net with In %d, Out %d, Width %d, Multipliers %v: want positive numbers, the width even",
			u.In, u.Out, u.Width, u.multipliers()))
	}
	for _, l := range u.layers() {
		if (l.kind == normalisation || l.kind == adaptive) && l.out%u.groups(l.out) != 0 {
			panic(fmt.Errorf("nn: U-Net layer %s has %d channels, not divisible by Groups %d", l.path, l.out, u.Groups))
		}
		if l.kind == attention && l.in%u.heads() != 0 {
			panic(fmt.Errorf("nn: U-Net layer %s has %d channels, not divisible by Heads %d", l.path, l.in, u.heads()))
		}
	}
}

// checkSize panics if images of this size cannot be cut into patches and then halved at every level but the lowest.
func (u UNet) checkSize(height, width int) {
	factor := u.patch() << (len(u.multipliers()) - 1)
	if height < factor || width < factor || height%factor != 0 || width%factor != 0 {
		panic(fmt.Errorf("nn: U-Net on images of %d×%d: with %d levels and patches of %d, height and width must be multiples of %d",
			height, width, len(u.multipliers()), u.patch(), factor))
	}
}
