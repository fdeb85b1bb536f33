package sd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
)

// unread are the endings of weights in formats that are not read.
var unread = []string{".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx"}

// openFiles opens the weights in a folder: those of a variant, such as fp16, if there are any, else those of no variant, else those of fp16, in one
// file or in several.
func openFiles(dir, stem, variant string) (*checkpoint.Reader, error) {
	if variant != "" {
		for _, name := range []string{stem + "." + variant + ".safetensors", stem + ".safetensors.index." + variant + ".json"} {
			path := filepath.Join(dir, name)
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				return checkpoint.OpenModel(path)
			}
		}
	}
	r, err := checkpoint.OpenModel(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if other := weightsIn(dir); other != "" {
			return nil, fmt.Errorf("%w: %s has weights as %s only, supported is safetensors; %s", ErrUnsupported, dir, other, convert(filepath.Dir(dir)))
		}
	}
	return r, err
}

// weightsIn returns the name of a file of weights in a format that is not read, or "".
func weightsIn(dir string) string {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		for _, ending := range unread {
			if strings.HasSuffix(e.Name(), ending) {
				return e.Name()
			}
		}
	}
	return ""
}

// convert says how weights become a folder with safetensors.
func convert(from string) string {
	load := fmt.Sprintf("from_pretrained(%q)", from)
	switch {
	case strings.HasSuffix(from, ".ckpt"), strings.HasSuffix(from, ".safetensors"):
		load = fmt.Sprintf("from_single_file(%q)", from)
	case hasFile(from, "unet", "diffusion_flax_model.msgpack"):
		load = fmt.Sprintf("from_pretrained(%q, from_flax=True)", from)
	}
	return fmt.Sprintf(`convert it once, in Python with diffusers: from diffusers import StableDiffusionPipeline as P; P.%s.save_pretrained("NEW", safe_serialization=True)`, load)
}

func hasFile(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}
