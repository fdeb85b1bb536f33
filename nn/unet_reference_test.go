package nn_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// picture is one image on the host: pixels in rows, each with its channels.
type picture struct {
	height, width int
	pixels        [][]float64
}

func (p picture) each(fn func(pixel []float64) []float64) picture {
	out := picture{p.height, p.width, nil}
	for _, pixel := range p.pixels {
		out.pixels = append(out.pixels, fn(pixel))
	}
	return out
}

func (p picture) zip(q picture, fn func(a, b []float64) []float64) picture {
	i := -1
	return p.each(func(a []float64) []float64 { i++; return fn(a, q.pixels[i]) })
}

func plus(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] + b[i]
	}
	return out
}

func silu(x []float64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v / (1 + math.Exp(-v))
	}
	return out
}

// reference evaluates the network of tiny on the host, one image at a time.
type reference struct {
	t *testing.T
	e *engine.Engine
}

func (r reference) dense(path string, x []float64) []float64 { return dense(r.t, r.e, "/u/"+path, x) }

func (r reference) conv(path string, p picture, stride int) picture {
	w, bias := value(r.t, r.e, "/u/"+path+"/weights"), value(r.t, r.e, "/u/"+path+"/bias")
	in, out := len(p.pixels[0]), len(bias)
	q := picture{p.height / stride, p.width / stride, nil}
	for i := range q.height {
		for j := range q.width {
			pixel := make([]float64, out)
			for o := range out {
				pixel[o] = float64(bias[o])
			}
			for tap := range 9 {
				row, column := stride*i+tap/3-1, stride*j+tap%3-1
				if row < 0 || row >= p.height || column < 0 || column >= p.width {
					continue
				}
				for k, v := range p.pixels[row*p.width+column] {
					for o := range out {
						pixel[o] += v * float64(w[(tap*in+k)*out+o])
					}
				}
			}
			q.pixels = append(q.pixels, pixel)
		}
	}
	return q
}

func (r reference) norm(path string, p picture, groups int) picture {
	return r.normalised(p, float64s(value(r.t, r.e, "/u/"+path+"/scale")), float64s(value(r.t, r.e, "/u/"+path+"/bias")), groups)
}

func float64s(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// normalised normalises groups of consecutive channels.
func (r reference) normalised(p picture, scale, bias []float64, groups int) picture {
	size := len(scale) / groups
	n := float64(len(p.pixels) * size)
	mean, variance := make([]float64, groups), make([]float64, groups)
	for _, pixel := range p.pixels {
		for c, v := range pixel {
			mean[c/size] += v / n
		}
	}
	for _, pixel := range p.pixels {
		for c, v := range pixel {
			variance[c/size] += (v - mean[c/size]) * (v - mean[c/size]) / n
		}
	}
	return p.each(func(pixel []float64) []float64 {
		out := make([]float64, len(pixel))
		for c, v := range pixel {
			out[c] = (v-mean[c/size])/math.Sqrt(variance[c/size]+1e-5)*scale[c] + bias[c]
		}
		return out
	})
}

// adaptive has its scales, but for 1, and its biases side by side.
func (r reference) adaptive(path string, p picture, e []float64, groups int) picture {
	made := r.dense(path, e)
	channels := len(made) / 2
	scale := make([]float64, channels)
	for c := range scale {
		scale[c] = 1 + made[c]
	}
	return r.normalised(p, scale, made[channels:], groups).each(silu)
}

func (r reference) block(path string, i int, p picture, e []float64) picture {
	b := fmt.Sprintf("%s/block_%d", path, i)
	channels := len(value(r.t, r.e, "/u/"+b+"/conv_1/bias"))
	groups := func(channels int) int { return channels / 4 }
	h := r.conv(b+"/conv_0", r.adaptive(b+"/norm_0", p, e, groups(len(p.pixels[0]))), 1)
	h = r.conv(b+"/conv_1", r.adaptive(b+"/norm_1", h, e, groups(channels)), 1)
	if len(p.pixels[0]) != channels {
		p = p.each(func(pixel []float64) []float64 { return r.dense(b+"/skip", pixel) })
	}
	p = p.zip(h, plus)
	a := fmt.Sprintf("%s/attention_%d", path, i)
	n := r.norm(a+"/norm", p, groups(channels))
	var q, k, v [][]float64
	for _, pixel := range n.pixels {
		q, k, v = append(q, r.dense(a+"/query", pixel)), append(k, r.dense(a+"/key", pixel)), append(v, r.dense(a+"/value", pixel))
	}
	const heads = 2
	size := channels / heads
	position := -1
	return p.each(func(pixel []float64) []float64 {
		position++
		mixed := make([]float64, channels)
		for head := range heads {
			var total float64
			weights := make([]float64, len(k))
			for j := range k {
				var dot float64
				for c := head * size; c < (head+1)*size; c++ {
					dot += q[position][c] * k[j][c]
				}
				weights[j] = math.Exp(dot / math.Sqrt(float64(size)))
				total += weights[j]
			}
			for j := range v {
				for c := head * size; c < (head+1)*size; c++ {
					mixed[c] += weights[j] / total * v[j][c]
				}
			}
		}
		return plus(pixel, r.dense(a+"/out", mixed))
	})
}

// apply is the network of tiny: two levels of 4 and 8 channels, two and three blocks.
func (r reference) apply(p picture, at float64) picture {
	e := []float64{math.Sin(1000 * at), math.Sin(0.1 * at), math.Cos(1000 * at), math.Cos(0.1 * at)}
	e = silu(r.dense("time_1", silu(r.dense("time_0", e))))
	x := r.conv("in", p, 1)
	first := r.block("down_0", 0, x, e)
	second := r.block("down_0", 1, first, e)
	x = r.conv("down_0/resample", second, 2)
	for i := range 3 {
		x = r.block("bottom", i, x, e)
	}
	large := picture{2 * x.height, 2 * x.width, nil}
	for i := range large.height {
		for j := range large.width {
			large.pixels = append(large.pixels, x.pixels[i/2*x.width+j/2])
		}
	}
	x = r.conv("up_0/resample", large, 1)
	join := func(a, b []float64) []float64 { return append(append([]float64{}, a...), b...) }
	x = r.block("up_0", 0, x.zip(second, join), e)
	x = r.block("up_0", 1, x.zip(first, join), e)
	return r.conv("out/conv", r.adaptive("out/norm", x, e, 1), 1)
}

func TestUNetAgainstReference(t *testing.T) {
	e := oracle.Open(t)
	u := begin(tiny(e), 1, 1, 0)
	randomize(t, e)
	const height, width, at = 4, 6, 0.25
	x := images(1, height*width*2)
	p := picture{height, width, nil}
	for i := range height * width {
		p.pixels = append(p.pixels, []float64{float64(x[2*i]), float64(x[2*i+1])})
	}
	got := apply(t, e, u, x, height, width, at)
	for i, pixel := range (reference{t, e}).apply(p, at).pixels {
		for c, want := range pixel {
			oracle.Near(t, fmt.Sprintf("pixel %d, channel %d", i, c), got[3*i+c], want, 1e-3*(1+math.Abs(want)))
		}
	}
}
