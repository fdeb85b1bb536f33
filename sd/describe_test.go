package sd

import (
	"errors"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/golden"
)

func TestDescribe(t *testing.T) {
	d, err := Describe(golden.Path("pipeline"), "", true)
	f32 := func(n int) map[checkpoint.DType]int { return map[checkpoint.DType]int{checkpoint.F32: n} }
	want := Description{Kind: "Stable Diffusion 1.x", Side: 32, Schedule: &Schedule{Beta0: 0.00085, Beta1: 0.012, Steps: 1000, Prediction: "epsilon"},
		Parts: []Part{{"unet", 326, f32(205012)}, {"vae", 152, f32(62463)}, {"text_encoder", 52, f32(52128)}}}
	if d := cmp.Diff(want, d); err != nil || d != "" {
		t.Errorf("(-want +got):\n%s; err = %v", d, err)
	}
	if n, bytes := (Part{Parameters: map[checkpoint.DType]int{checkpoint.F16: 3, checkpoint.F32: 2}}).Count(); n != 5 || bytes != 14 {
		t.Errorf("%d parameters in %d bytes, want 5 in 14", n, bytes)
	}
	for name, want := range map[string]Description{
		"clip":        {Kind: "CLIP", Side: 32, Parts: []Part{{"network", 78, f32(54449)}}},
		"imagereward": {Kind: "ImageReward", Side: 48, Parts: []Part{{"network", 100, f32(74553)}}},
	} {
		got, err := Describe(golden.Path(name), "", true)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s (-want +got):\n%s; err = %v", name, d, err)
		}
	}
}

// All that is wrong is told at once, whatever part it is of; of many numbers that are not finite, the first few.
func TestDescribeFaults(t *testing.T) {
	dir := tiny(t)
	change(t, filepath.Join(dir, "unet/config.json"), "act_fn", "mish")
	change(t, filepath.Join(dir, "scheduler/scheduler_config.json"), "thresholding", true)
	path := filepath.Join(dir, "text_encoder", "model.safetensors")
	f, err := checkpoint.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Tensors {
		if x.F32 != nil {
			x.F32[0] = float32(math.Inf(1))
		}
	}
	if err := checkpoint.Save(path, f); err != nil {
		t.Fatal(err)
	}
	for read, infinite := range map[bool]int{false: 0, true: 5} {
		d, err := Describe(dir, "", read)
		wantError(t, err, ErrUnsupported, "mish", "thresholding")
		if n := strings.Count(err.Error(), "is infinite or NaN"); n != infinite || errors.Is(err, ErrWeights) != read || strings.Contains(err.Error(), "there may be more") != read {
			t.Errorf("read %v: %d numbers that are not finite, want %d: %v", read, n, infinite, err)
		}
		if len(d.Parts) != 2 {
			t.Errorf("%d parts, want those whose configuration is right", len(d.Parts))
		}
	}
}
