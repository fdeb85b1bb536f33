package reward_test

import (
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Noise takes more bytes than a plain area, in gray and in colour; values beyond −1 to 1 are as their bounds; the scale is per byte.
func TestJPEG(t *testing.T) {
	for _, channels := range []int{1, 3} {
		shape := []int{12, 20, channels}
		dim := 12 * 20 * channels
		x := make([]float32, 4*dim) // plain, noise, white, whiter than white
		noise.New(1).Normal(x[dim:2*dim], 0, 0)
		for i := range dim {
			x[2*dim+i], x[3*dim+i] = 1, 5
		}
		r := reward.JPEG{Shape: shape, Quality: 95, Mean: 700, Scale: -0.5}
		got, err := reward.Evaluate(t.Context(), r, x, nil, 4)
		if err != nil {
			t.Fatal(err)
		}
		if got[1] >= got[0]-20 || got[2] != got[3] {
			t.Errorf("%d channels: rewards %v", channels, got)
		}
		size, err := r.Size(x[:dim])
		if err != nil {
			t.Fatal(err)
		}
		oracle.Near(t, "reward", got[0], -0.5*(float64(size)-700), 0)
	}
	if _, err := (reward.JPEG{Shape: []int{2, 2, 2}, Quality: 95}).Rewards(t.Context(), make([]float32, 8), 1); err == nil {
		t.Error("two channels are no image")
	}
}
