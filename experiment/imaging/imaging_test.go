package imaging

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// NN1 has a size of its own, or that of the base model where it is tuned from it or nothing is said.
func TestSizeOfH(t *testing.T) {
	base, own := nn.UNet{Width: 32, Multipliers: []int{1, 2}}, nn.UNet{Width: 8, Multipliers: []int{1}}
	for _, c := range []struct {
		tuned bool
		h     nn.UNet
		want  int
	}{{false, own, 8}, {true, own, 32}, {false, nn.UNet{}, 32}, {true, nn.UNet{}, 32}} {
		h := H{UNet: c.h}
		h.Tuned = c.tuned
		if got := h.Size(base); got.Width != c.want {
			t.Errorf("tuned %v, of width %d: NN1 has the width %d, want %d", c.tuned, c.h.Width, got.Width, c.want)
		}
	}
	if n := Net(base, nil, 3, 1); n.In != 3 || n.Out != 1 || n.Width != 32 {
		t.Errorf("%+v", n)
	}
}

// What is out of range is noted under the key where it was said.
func TestCheck(t *testing.T) {
	for words, change := range map[string]func(h *H, base *nn.UNet){
		"h.width is 7":           func(h *H, _ *nn.UNet) { h.UNet.Width = 7 },
		"network.width is 7":     func(h *H, base *nn.UNet) { h.Tuned, base.Width = true, 7 },
		"h.scale_width is 0":     func(h *H, _ *nn.UNet) { h.ScaleWidth = 0 },
		"h cuts 28 pixels":       func(h *H, _ *nn.UNet) { h.UNet.Patch = 3 },
		"h.multipliers are [0]":  func(h *H, _ *nn.UNet) { h.UNet.Multipliers = []int{0} },
		"h.heads is 3, want a d": func(h *H, _ *nn.UNet) { h.UNet.Heads = 3 },
	} {
		h, base := H{UNet: nn.UNet{Width: 8, Multipliers: []int{1}}}, nn.UNet{Width: 8, Multipliers: []int{1}}
		h.ScaleWidth = 4
		var c config.Check
		if h.Check(&c, base, 28); c.Err() != nil {
			t.Fatal(c.Err())
		}
		change(&h, &base)
		if h.Check(&c, base, 28); !errors.Is(c.Err(), config.ErrConfig) || !strings.Contains(c.Err().Error(), words) {
			t.Errorf("error %v, want one with %q", c.Err(), words)
		}
	}
	for words, change := range map[string]func(n *Classifier){
		"classifier.width is 9": func(n *Classifier) { n.Width = 9 },
		"classifier.steps is 0": func(n *Classifier) { n.Training.Steps = 0 },
		"classifier.batch is 0": func(n *Classifier) { n.Training.Batch = 0 },
		"classifier.ema is 1":   func(n *Classifier) { n.Training.Optimizer.EMA = 1 },
	} {
		n := Classifier{CNN: nn.CNN{Width: 8}, Training: nn.Training{Steps: 1, Batch: 1}}
		var c config.Check
		if n.Check(&c); c.Err() != nil {
			t.Fatal(c.Err())
		}
		change(&n)
		if n.Check(&c); c.Err() == nil || !strings.Contains(c.Err().Error(), words) {
			t.Errorf("error %v, want one with %q", c.Err(), words)
		}
	}
}

// halves are images whose left or right half is white, and their labels.
func halves(n int) data.Images {
	im := data.Images{N: n, Height: 8, Width: 8, Channels: 1, Pixels: make([]float32, n*64), Labels: make([]int, n)}
	noise.New(1).Normal(im.Pixels, 0, 0)
	for i := range im.Pixels {
		im.Labels[i/64] = i / 64 % 2
		im.Pixels[i] *= 0.3
		if i%8/4 == i/64%2 {
			im.Pixels[i] += 1
		}
	}
	return im
}

// A classifier learns what labels say of its images, as they were drawn for it, and a training step asks for as many as its batch.
func TestClassifier(t *testing.T) {
	c := Classifier{CNN: nn.CNN{Width: 8}, Training: nn.Training{Steps: 40, Batch: 16, Optimizer: nn.Optimizer{LearningRate: 0.01, EMA: 0.8}}}
	im, e := halves(64), oracle.Open(t)
	shape := []int{8, 8, 1}
	asked := map[int]int{}
	network := c.Network("halves", im, shape, 2, func(row []float32, i int, _ noise.Key, step, place int) {
		asked[step]++
		if place < 0 || place >= 16 {
			t.Errorf("place %d of a batch of 16", place)
		}
		copy(row, im.At(i))
	}, "what it depends on")
	if network.Name != "halves" || network.Steps != 40 || network.Settings != "what it depends on" || network.EachSeed {
		t.Errorf("%+v", network)
	}
	ground := experiment.Ground{Engine: e, Scope: e.Scope("/halves")}
	if _, err := network.Init(ground.Scope, noise.New(2)); err != nil {
		t.Fatal(err)
	}
	trainer, inputs, err := network.Train(ground, noise.New(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := trainer.Run(t.Context(), network.Steps, inputs, func(int, float64) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 40 || asked[0] != 16 || asked[39] != 16 {
		t.Errorf("images per step: %v", asked)
	}
	learned := c.In(e.Scope(nn.Averaged("/halves")), 1, 2)
	test := halves(31)
	got, err := nn.Predict(t.Context(), e, learned, test.Pixels, test.N, 10, 8, 8, 1)
	if err != nil || metric.Accuracy(got, test.Labels) < 0.95 {
		t.Errorf("%v of halves %v, %v", got, test.Labels, err)
	}

	// Features do not depend on how many images are looked at; their distance is that of Fréchet, 0 to themselves.
	features, err := NewFeatures(e, learned, shape, 10)
	if err != nil {
		t.Fatal(err)
	}
	all, err := features.Of(t.Context(), test.Pixels)
	if err != nil || len(all) != 31*features.Size {
		t.Fatalf("%d numbers of 31 images with %d features, %v", len(all), features.Size, err)
	}
	one, err := features.Of(t.Context(), test.At(17))
	if err != nil || !slices.Equal(one, all[17*features.Size:18*features.Size]) {
		t.Errorf("the features of an image depend on the others: %v", err)
	}
	own, err := features.Distance(t.Context(), test.Pixels, all)
	if err != nil || math.Abs(own) > 1e-4 {
		t.Errorf("distance of images to themselves %g, %v", own, err)
	}
	var left []float32
	for i := 0; i < test.N; i += 2 {
		left = append(left, test.At(i)...)
	}
	part, err := features.Distance(t.Context(), left, all)
	if err != nil || part < 100*math.Abs(own) {
		t.Errorf("distance of one half to both %g, %v", part, err)
	}
	oracle.Near(t, "distance", part, metric.FrechetDistance(of(t, features, left), all, features.Size), 1e-9)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := features.Distance(cancelled, left, all); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func of(t *testing.T, f *Features, x []float32) []float32 {
	t.Helper()
	out, err := f.Of(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
