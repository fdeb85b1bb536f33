package sd

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/doob-diffusion/doob/checkpoint"
)

// Description is what a folder has.
type Description struct {
	Kind     string // such as "Stable Diffusion 1.x"
	Parts    []Part
	Schedule *Schedule // of models that draw, else nil
	Side     int       // of the pictures that it was trained on, in pixels; 0 if not known
}

// Part is a network of a model.
type Part struct {
	Name       string
	Tensors    int
	Parameters map[checkpoint.DType]int // how many numbers, by their precision in the files
}

// Count returns how many parameters there are, and the bytes that they have in the files.
func (p Part) Count() (parameters, bytes int) {
	for d, n := range p.Parameters {
		parameters += n
		bytes += n * map[checkpoint.DType]int{checkpoint.F16: 2, checkpoint.BF16: 2, checkpoint.F32: 4, checkpoint.F64: 8}[d]
	}
	return parameters, bytes
}

// Describe says what a folder has: a Stable Diffusion, an [Unconditional], an ImageReward or a CLIP. The error says all that [Open] and its like, and whoever loads the
// weights of that variant, would refuse. With read it reads all numbers, for those that are not finite; without, headers alone.
func Describe(dir, variant string, read bool) (Description, error) {
	switch {
	case !hasFile(dir, "model_index.json") && (hasFile(dir, "ImageReward.safetensors") || hasFile(dir, "ImageReward.pt")):
		c, w, err := OpenImageReward(dir)
		d := Description{Kind: "ImageReward", Side: c.Picture.Side}
		return d, d.add("network", read, w, err)
	case !hasFile(dir, "model_index.json") && hasFile(dir, "config.json"):
		c, w, err := OpenCLIP(dir)
		d := Description{Kind: "CLIP", Side: c.Picture.Side}
		return d, d.add("network", read, w, err)
	}
	if class, err := indexClass(dir); err == nil && IsUnconditional(class) {
		return describeUnconditional(dir, read)
	}
	f := &Folder{Dir: dir, Variant: variant}
	if err := f.checkIndex(); err != nil {
		return Description{}, fmt.Errorf("model %s: %w", dir, err)
	}
	d := Description{Kind: "Stable Diffusion 1.x", Schedule: &f.Schedule}
	var errs []error
	if err := f.open(); err != nil {
		errs = append(errs, fmt.Errorf("model %s: %w", dir, err))
	} else {
		d.Side = f.UNet.Side * f.VAE.Factor()
		_, err = f.Tokenizer()
		errs = append(errs, err)
	}
	if f.UNet.Linear {
		d.Kind = "Stable Diffusion 2.x"
	}
	_, errUNet := readUNet(f.part("unet"))
	_, errVAE := readVAE(f.part("vae"))
	_, errText := readTextEncoder(f.part("text_encoder"))
	for _, p := range []struct {
		name string
		open func() (*Weights, error)
		err  error
	}{{"unet", f.UNetWeights, errUNet}, {"vae", f.VAEWeights, errVAE}, {"text_encoder", f.TextWeights, errText}} {
		if p.err != nil {
			continue // what tensors there should be is not known; it has been told why
		}
		w, err := p.open()
		errs = append(errs, d.add(p.name, read, w, err))
	}
	return d, errors.Join(errs...)
}

// indexClass returns the class of a model by its index.
func indexClass(dir string) (string, error) {
	s, err := readSettings(filepath.Join(dir, "model_index.json"))
	if err != nil {
		return "", err
	}
	return get(s, "_class_name", ""), nil
}

func describeUnconditional(dir string, read bool) (Description, error) {
	f, err := OpenUnconditional(dir)
	if err != nil {
		return Description{}, err
	}
	d := Description{Kind: "unconditional model of pictures", Schedule: &f.Schedule}
	if f.UNet.Height == f.UNet.Width {
		d.Side = f.UNet.Width
	}
	w, err := f.Weights()
	return d, d.add("unet", read, w, err)
}

// add adds a part whose weights were opened, or not, and closes them.
func (d *Description) add(name string, read bool, w *Weights, err error) error {
	if err != nil {
		return err
	}
	defer w.Close()
	d.Parts = append(d.Parts, Part{name, len(w.files), w.Parameters()})
	if !read {
		return nil
	}
	var errs []error
	for _, name := range w.Names() {
		if _, err := w.Tensor(name); err != nil {
			errs = append(errs, err)
		}
		if len(errs) == 5 {
			errs = append(errs, fmt.Errorf("%w: %s: there may be more", ErrWeights, w.source.Path()))
			break
		}
	}
	return errors.Join(errs...)
}
