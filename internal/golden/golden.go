// Package golden has tiny random models in the file formats of published ones, and what the reference libraries compute with them. Only tests
// import it. What is a model, an adapter, a picture, a text or a recorded path was made once; make.py makes all the rest again.
//
//	text, clip-bpe       token ids of texts by the tokenizer of pipeline, and by CLIP's published merges (MIT licence beside them); states of pipeline's
//	                     text encoder
//	pipeline             a Stable Diffusion 1.x in the layout of diffusers
//	unet, vae            what its networks compute, and gradients
//	variants             a U-Net as in 2.x in several precisions and files, with its outputs; today's names of tensors
//	unconditional        two DDPMPipelines, one in the layout of early ones; what their U-Nets compute, and paths of both schedulers with noise
//	clip                 a CLIP with both its networks, and what it says of texts and pictures
//	imagereward          ImageReward, as .pt and as .safetensors, and rewards; refuse.pt names a function, a harmless one
//	lora                 one adapter of pipeline's U-Net in five spellings; two of them cannot hold its alpha; what the U-Net computes with it
//	statedict            what torch.save writes of views and of all element types; what is refused
//	pictures             N.png, and N-WIDTHxHEIGHT.png as Pillow resizes it; what CLIP and ImageReward take of them
//	schedulers           levels, ᾱ and single steps of diffusers' DDIM and DDPM
//	objectives           the loss (15) of the tuned model, guided or not, the losses of DPOK and DDPO on steps of a path, and adjoint matching's with its adjoints;
//	                     and gradients to the adapter
//	images               pictures of two prompts by diffusers' pipeline, without and with the adapter
//	trajectories         paths of a tuned and guided model by five samplers, with noise, predictions and log ratios
package golden

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Path returns the path of a file or folder in testdata, by its name with slashes.
func Path(name string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "testdata", filepath.FromSlash(name))
}

// Read returns what a file has.
func Read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(Path(name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// JSON reads a JSON file.
func JSON[T any](t testing.TB, name string) (v T) {
	t.Helper()
	if err := json.Unmarshal(Read(t, name), &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}
