package sd

import (
	"io/fs"
	"testing"

	"github.com/doob-diffusion/doob/internal/golden"
)

// A folder of something else is called by its name, not by what a Stable Diffusion or a CLIP lacks there.
func TestAlone(t *testing.T) {
	unknown := t.TempDir()
	write(t, unknown, "config.json", `{"model_type": "bert"}`)
	for dir, want := range map[string]string{
		golden.Path("imagereward"):   "an ImageReward",
		golden.Path("clip"):          "a CLIP",
		golden.Path("pipeline/unet"): "(UNet2DConditionModel): the folder above it",
		golden.Path("lora/peft"):     "a low-rank adapter",
		unknown:                      "of type bert",
	} {
		_, err := Open(dir)
		wantError(t, err, ErrUnsupported, want)
	}
	_, _, err := OpenCLIP(golden.Path("imagereward"))
	wantError(t, err, fs.ErrNotExist, "an ImageReward")
	_, _, err = OpenImageReward(golden.Path("clip"))
	wantError(t, err, ErrWeights, "a CLIP")
	_, err = Describe(golden.Path("pipeline/vae"), "", false)
	wantError(t, err, ErrUnsupported, "(AutoencoderKL): the folder above it")
	_, err = Describe(golden.Path("lora/peft"), "", false)
	wantError(t, err, ErrUnsupported, "a low-rank adapter")
}
