package mnist

import (
	"testing"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// dot is an image with a single white pixel.
func dot(x, y int) []float32 {
	im := make([]float32, pixels)
	for i := range im {
		im[i] = -1
	}
	if x >= 0 && x < 28 && y >= 0 && y < 28 {
		im[y*28+x] = 1
	}
	return im
}

// An image is moved as it says, and what leaves it does not come back.
func TestMoved(t *testing.T) {
	got := make([]float32, pixels)
	for _, c := range [][4]int{{5, 9, 0, 0}, {5, 9, 2, 0}, {5, 9, 0, -3}, {27, 27, 1, 0}, {0, 3, -1, 2}, {0, 0, 27, 27}} {
		moved(got, dot(c[0], c[1]), c[2], c[3])
		if !equal(got, dot(c[0]+c[2], c[1]+c[3])) {
			t.Errorf("a pixel at %d, %d moved by %d, %d is elsewhere", c[0], c[1], c[2], c[3])
		}
	}
}

// The judge is trained on images at all places that its settings allow, equally often, with the labels that they have.
func TestJudgeSeesImagesMoved(t *testing.T) {
	j := Judge{Perceptron: nn.Perceptron{Width: 8, Depth: 1}, Shift: 1, Training: nn.Training{Steps: 100, Batch: 90}}
	im := data.Images{Pixels: append(dot(5, 5), dot(20, 20)...), Labels: []int{7, 2}, N: 2, Height: 28, Width: 28, Channels: 1}
	e := oracle.Open(t)
	network := j.Network("judge", im)
	ground := experiment.Ground{Engine: e, Scope: e.Scope("/judge")}
	if _, err := network.Init(ground.Scope, noise.New(1)); err != nil {
		t.Fatal(err)
	}
	_, inputs, err := network.Train(ground, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[[3]int32]int{} // label, and place from where it was
	for step := range 100 {
		in := inputs(step)
		x, labels := tensors.MustCopyFlatData[float32](in[0].(*tensors.Tensor)), in[1].([]int32)
		for i, label := range labels {
			from := map[int32]int{7: 5, 2: 20}[label]
			for k, v := range x[i*pixels : (i+1)*pixels] {
				if v == 1 {
					seen[[3]int32{label, int32(k%28 - from), int32(k/28 - from)}]++
				}
			}
		}
	}
	if len(seen) != 18 {
		t.Errorf("%d labels and places, want 2 times 9: %v", len(seen), seen)
	}
	for at, n := range seen {
		if n < 500-89 || n > 500+89 { // 9,000 draws of 18: four standard errors
			t.Errorf("%v has been seen %d times of 9000, want 500", at, n)
		}
	}
	if p := j.In(e.Scope("/other")); p.In != pixels || p.Out != 10 || p.Width != 8 {
		t.Errorf("%+v", p)
	}
}
