package sd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/tokenizer"
)

// Folder is a model whose configuration has been read and checked.
type Folder struct {
	Dir      string
	Variant  string // of the weights that are read where there are some, such as fp16
	UNet     UNet
	VAE      VAE
	Text     TextEncoder
	Schedule Schedule
}

// Open reads the configuration of a model in a folder. The error says all that is not supported.
func Open(dir string) (*Folder, error) {
	f := &Folder{Dir: dir}
	err := f.open()
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", dir, err)
	}
	return f, nil
}

func (f *Folder) open() error {
	if err := f.checkIndex(); err != nil {
		return err // parts of another family would be refused for other reasons
	}
	var errs [4]error
	f.UNet, errs[0] = readUNet(f.part("unet"))
	f.VAE, errs[1] = readVAE(f.part("vae"))
	f.Text, errs[2] = readTextEncoder(f.part("text_encoder"))
	f.Schedule, errs[3] = readSchedule(f.part("scheduler"))
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if f.VAE.Latent != f.UNet.Channels {
		return fmt.Errorf("%w: vae: latent_channels is %d, supported is in_channels of unet, %d", ErrUnsupported, f.VAE.Latent, f.UNet.Channels)
	}
	if f.Text.Width != f.UNet.Context {
		return fmt.Errorf("%w: text_encoder: hidden_size is %d, supported is cross_attention_dim of unet, %d", ErrUnsupported, f.Text.Width, f.UNet.Context)
	}
	return nil
}

func (f *Folder) part(name string) string { return filepath.Join(f.Dir, name) }

// classes are the classes that the parts of a model may have, each also with Flax before it.
var classes = map[string][]string{
	"unet": {"UNet2DConditionModel"}, "vae": {"AutoencoderKL"}, "text_encoder": {"CLIPTextModel"}, "tokenizer": {"CLIPTokenizer", "CLIPTokenizerFast"},
}

// checkIndex refuses models of other families by their model_index.json.
func (f *Folder) checkIndex() error {
	s, err := readSettings(f.part("model_index.json"))
	if errors.Is(err, ErrConfig) {
		return err
	}
	if err != nil {
		return f.noIndex(err)
	}
	only(s, "_class_name", "", nil, "StableDiffusionPipeline", "FlaxStableDiffusionPipeline")
	if err := s.err(); err != nil {
		return err
	}
	for _, part := range []string{"unet", "vae", "text_encoder", "tokenizer"} {
		if class := strings.TrimPrefix(s.class(part), "Flax"); !slices.Contains(classes[part], class) {
			s.refuse(part, "", classes[part])
		}
	}
	for _, part := range []string{"text_encoder_2", "transformer", "prior", "image_normalizer"} {
		if s.class(part) != "" {
			s.refuse(part, "of other families", []string{"none"})
		}
	}
	return s.err()
}

// class returns the class of a part, which stands in the index as [library, class]; "" if there is none.
func (s *settings) class(part string) string {
	var pair []*string
	if !s.has(part) || json.Unmarshal(s.values[part], &pair) != nil || len(pair) != 2 || pair[1] == nil {
		return ""
	}
	return *pair[1]
}

// noIndex says what a folder without model_index.json may be.
func (f *Folder) noIndex(err error) error {
	if info, statErr := os.Stat(f.Dir); statErr != nil {
		return statErr
	} else if !info.IsDir() {
		return fmt.Errorf("%w: it is one file, supported is a folder in the layout of diffusers; %s", ErrUnsupported, convert(f.Dir))
	}
	if what := alone(f.Dir); what != "" {
		return fmt.Errorf("%w: it is %s; supported is a folder in the layout of diffusers", ErrUnsupported, what)
	}
	entries, _ := os.ReadDir(f.Dir)
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".ckpt") || strings.HasSuffix(name, ".safetensors") {
			return fmt.Errorf("%w: it has a whole model in %s, supported is a folder in the layout of diffusers; %s", ErrUnsupported, name, convert(f.part(name)))
		}
	}
	return fmt.Errorf("expected a folder in the layout of diffusers: %w", err)
}

// Tokenizer reads the tokenizer. It must have no token that the text encoder has no embedding of.
func (f *Folder) Tokenizer() (*tokenizer.CLIP, error) {
	c, err := tokenizer.OpenCLIP(f.part("tokenizer"))
	if err != nil {
		return nil, err
	}
	if c.Size() > f.Text.Vocabulary {
		return nil, fmt.Errorf("%w: %s has ids up to %d, expected fewer than vocab_size of text_encoder, %d", ErrConfig, f.part("tokenizer"), c.Size()-1, f.Text.Vocabulary)
	}
	return c, nil
}

// UNetWeights opens the weights of the U-Net.
func (f *Folder) UNetWeights() (*Weights, error) {
	return f.weights("unet", "diffusion_pytorch_model", f.UNet.Tensors(), func(name string) string { return name })
}

// Weights compares tensors from anywhere, by the names that the files of diffusers have today, with those of the network.
func (u UNet) Weights(source checkpoint.Source) (*Weights, error) {
	return newWeights(source, u.Tensors(), func(name string) string { return name })
}

// VAEWeights opens the weights of the autoencoder, both halves.
func (f *Folder) VAEWeights() (*Weights, error) {
	return f.weights("vae", "diffusion_pytorch_model", f.VAE.Tensors(), selfAttentionNames.Replace)
}

// TextWeights opens the weights of the text encoder.
func (f *Folder) TextWeights() (*Weights, error) {
	return f.weights("text_encoder", "model", f.Text.Tensors(), textName)
}

func (f *Folder) weights(part, stem string, want map[string][]int, current func(string) string) (*Weights, error) {
	r, err := openFiles(f.part(part), stem, f.Variant)
	if err != nil {
		return nil, err
	}
	w, err := newWeights(r, want, current)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", r.Path(), err), r.Close())
	}
	return w, nil
}

// SHA256 returns the hash of the files of all parts, by their names: of whatever decides what the model draws.
func (f *Folder) SHA256() (string, error) {
	sum := sha256.New()
	for _, part := range []string{"unet", "vae", "text_encoder", "tokenizer", "scheduler"} {
		entries, err := os.ReadDir(f.part(part))
		if err != nil {
			return "", fmt.Errorf("model %s: %w", f.Dir, err)
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); e.IsDir() || ext != ".json" && ext != ".txt" && ext != ".safetensors" {
				continue
			}
			file, err := os.Open(filepath.Join(f.part(part), e.Name()))
			if err != nil {
				return "", fmt.Errorf("model %s: %w", f.Dir, err)
			}
			fmt.Fprintf(sum, "%s/%s\n", part, e.Name())
			_, err = io.Copy(sum, file)
			if err = errors.Join(err, file.Close()); err != nil {
				return "", fmt.Errorf("model %s: %w", f.Dir, err)
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
