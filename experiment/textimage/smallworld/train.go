package smallworld

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// Training makes the small world's networks from nothing.
type Training struct {
	Dir    string // where they are written; parts that are there already stay
	Seed   uint64
	Share  float64                                          // of the steps that are taken; 0 means all, and less is for tests
	Report func(part string, done, total int, loss float64) // of progress; nil for none

	engine *engine.Engine
	key    noise.Key
}

// saved is what transformers wants to be told of a file of tensors.
var saved = map[string]string{"format": "pt"}

//go:embed model/*.json model/*/config.json model/*/scheduler_config.json clip/config.json
var configurations embed.FS

// Train trains what is not there yet, and returns the first error. What is interrupted is gone on with the next time.
func Train(ctx context.Context, e *engine.Engine, t Training) error {
	t.engine, t.key = e, noise.New(t.Seed)
	if err := t.prepare(); err != nil {
		return err
	}
	folder, err := sd.Open(t.file("model"))
	if err != nil {
		return err
	}
	for _, part := range []struct {
		file string // as soon as it is there, the part is done
		make func() error
	}{
		{"model/vae/diffusion_pytorch_model.safetensors", func() error { return t.autoencoder(ctx, folder) }},
		{"model/unet/diffusion_pytorch_model.safetensors", func() error { return t.denoiser(ctx, folder) }},
		{"reward/ImageReward.safetensors", func() error { return t.preference(ctx, "reward") }},
		{"held-out/ImageReward.safetensors", func() error { return t.preference(ctx, "held-out") }},
		{"clip/model.safetensors", func() error { return t.encoder(ctx) }},
		{"checker/checker.safetensors", func() error { return t.checker(ctx, folder) }},
	} {
		if _, err := os.Stat(t.file(part.file)); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := part.make(); err != nil {
			return fmt.Errorf("smallworld: %s: %w", part.file, err)
		}
		if err := t.finish(); err != nil {
			return err
		}
	}
	return nil
}

func (t Training) file(name string) string { return filepath.Join(t.Dir, filepath.FromSlash(name)) }

// prepare writes what is not trained: configurations and tokenizers.
func (t Training) prepare() error {
	err := fs.WalkDir(configurations, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if _, err := os.Stat(t.file(path)); err == nil {
			return nil // with what was measured, such as the latents' scale
		}
		text, err := configurations.ReadFile(path)
		if err != nil {
			return err
		}
		return writeFiles(filepath.Dir(t.file(path)), map[string][]byte{filepath.Base(path): text})
	})
	for _, dir := range []string{"model/tokenizer", "clip"} {
		err = errors.Join(err, writeCLIPWords(t.file(dir)))
	}
	for _, dir := range []string{"reward", "held-out"} {
		err = errors.Join(err, writeWordPieces(t.file(dir)), writeFiles(t.file(dir), map[string][]byte{"med_config.json": []byte("{\"num_attention_heads\": 4}\n")}))
	}
	return errors.Join(err, os.MkdirAll(t.file("checker"), 0o777))
}

// steps returns how many are taken of n.
func (t Training) steps(n int) int {
	if t.Share == 0 {
		return n
	}
	return max(1, int(t.Share*float64(n)))
}
