package textimage

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/experiment/textimage/smallworld"
	"github.com/doob-diffusion/doob/noise"
)

// The small world is a folder that diffusers loads, and of which it draws the same pictures from the same noise, under guidance. DOOB_PYTHON names a Python
// that has it.
func TestDiffusersDrawsTheSmallWorld(t *testing.T) {
	python := os.Getenv("DOOB_PYTHON")
	if python == "" {
		t.Skip("DOOB_PYTHON names no Python with diffusers and transformers: that diffusers draws the small world is not tested")
	}
	t.Setenv("DOOB_DATA", t.TempDir())
	folder, err := smallworld.Extract()
	if err != nil {
		t.Fatal(err)
	}
	dir, model := t.TempDir(), filepath.Join(folder, "model")
	var prompts []string
	for _, c := range world.Wanted() {
		prompts = append(prompts, c.String())
	}
	start := make([]float32, len(prompts)*256)
	noise.New(5).Normal(start, 0, 0)
	text, err := json.Marshal(prompts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "prompts.json"), text, 0o666); err != nil {
		t.Fatal(err)
	}
	given := checkpoint.Tensor{Shape: []int{len(prompts), 4, 8, 8}, F32: start}
	if err := checkpoint.Save(filepath.Join(dir, "start.safetensors"), checkpoint.File{Tensors: map[string]checkpoint.Tensor{"start": given}}); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), python, "testdata/draw.py", model, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	theirs, err := checkpoint.Load(filepath.Join(dir, "pictures.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	want := theirs.Tensors["pictures"].F32
	for i, prompt := range prompts {
		got := drawn(t, Generation{Model: model, Prompt: prompt, N: 1, Steps: 20, Guidance: 3, Seed: 1, Out: filepath.Join(dir, "out.png")}, start[i*256:(i+1)*256])
		worst := 0.0
		for j, v := range got.Pixels {
			worst = max(worst, math.Abs(float64(v)-255*float64(want[i*len(got.Pixels)+j])))
		}
		if t.Logf("%q: off by at most %.2f of 255", prompt, worst); worst > 1 { // a rounding, and what 20 guided steps make of float32's
			t.Errorf("%q: off by %g of 255", prompt, worst)
		}
	}
}
