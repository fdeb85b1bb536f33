package sd

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/checkpoint/statedict"
)

// Unconditional is a model of pictures without texts whose configuration has been read and checked: a DDPMPipeline or DDIMPipeline of diffusers, with the parts
//
//	unet/       config.json  diffusion_pytorch_model.safetensors, also as [.fp16] and in shards, or diffusion_pytorch_model.bin
//	scheduler/  scheduler_config.json
//
// or, as in early ones, all of these files beside model_index.json.
type Unconditional struct {
	Dir      string
	UNet     UNet2D
	Schedule Schedule
}

// unconditional are the pipelines that are one, by the classes in their indices.
var unconditional = []string{"DDPMPipeline", "DDIMPipeline"}

// IsUnconditional reports whether the class of a pipeline, in its model_index.json, is that of an [Unconditional].
func IsUnconditional(class string) bool { return slices.Contains(unconditional, class) }

// OpenUnconditional reads the configuration of a model in a folder. The error says all that is not supported.
func OpenUnconditional(dir string) (*Unconditional, error) {
	f := &Unconditional{Dir: dir}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("model %s: %w", dir, err)
	}
	return f, nil
}

func (f *Unconditional) open() error {
	s, err := readSettings(filepath.Join(f.Dir, "model_index.json"))
	switch {
	case errors.Is(err, ErrConfig):
		return err
	case err != nil && hasFile(f.Dir, "config.json"):
		return fmt.Errorf("%w: it is a network without its noise levels, supported is a folder with model_index.json; make one, in Python with diffusers: from diffusers import *; "+
			`DDPMPipeline(UNet2DModel.from_pretrained(%q), DDPMScheduler()).save_pretrained("NEW"), with the scheduler that it was trained with`, ErrUnsupported, f.Dir)
	case err != nil:
		return (&Folder{Dir: f.Dir}).noIndex(err)
	}
	only(s, "_class_name", "", map[string]string{"StableDiffusionPipeline": "doob init textimage", "LDMPipeline": "its pictures are latents", "ScoreSdeVePipeline": "its noise grows without bound"}, unconditional...)
	if class := s.class("unet"); class != "UNet2DModel" {
		s.refuse("unet", "", "UNet2DModel")
	}
	if err := s.err(); err != nil {
		return err
	}
	var errs [2]error
	f.UNet, errs[0] = readUNet2D(f.part("unet"))
	f.Schedule, errs[1] = readSchedule(f.part("scheduler"))
	return errors.Join(append(errs[:], f.scheduler())...)
}

// scheduler refuses schedulers whose betas mean something else, or that have none.
func (f *Unconditional) scheduler() error {
	s, err := readSettings(filepath.Join(f.part("scheduler"), "scheduler_config.json"))
	if err != nil {
		return nil // it has been told
	}
	only(s, "_class_name", "DDPMScheduler", nil, "DDPMScheduler", "DDIMScheduler")
	return s.err()
}

// part returns the folder of a part.
func (f *Unconditional) part(name string) string {
	if hasFile(f.Dir, name) {
		return filepath.Join(f.Dir, name)
	}
	return f.Dir
}

// Weights opens the weights of the U-Net.
func (f *Unconditional) Weights() (*Weights, error) {
	r, err := f.source()
	if err != nil {
		return nil, err
	}
	w, err := newWeights(r, f.UNet.Tensors(), selfAttentionNames.Replace)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", r.Path(), err), r.Close())
	}
	return w, nil
}

// source opens safetensors, or else what PyTorch wrote, as early models have it.
func (f *Unconditional) source() (checkpoint.Source, error) {
	const stem = "diffusion_pytorch_model"
	if pickled := filepath.Join(f.part("unet"), stem+".bin"); !hasFile(f.part("unet"), stem+".safetensors") && hasFile(pickled) {
		return statedict.Open(pickled)
	}
	return openFiles(f.part("unet"), stem, "")
}
