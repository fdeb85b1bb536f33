// Command sdfolder writes a folder like that of Stable Diffusion 1.5, at full size, with weights that nobody has trained: to measure start, memory and
// time where the published weights cannot be had.
//
//	go run ./bench/sdfolder -o DIR [-bits 16] [-seed 1]
//
// It takes 2.1 GB in F16, 4.3 GB in F32, and as much memory as the U-Net's file. The tokenizer is CLIP's own. What it draws is noise.
package main

import (
	"bytes"
	"compress/gzip"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/bench"
	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/tokenizer"
)

// configs are the settings of the parts, by their names in the folder.
//
//go:embed configs
var configs embed.FS

func main() {
	out := flag.String("o", "", "the folder to make; it must not exist")
	bits := flag.Int("bits", 16, "16 for F16, 32 for F32")
	seed := flag.Uint64("seed", 1, "of the weights")
	merges := flag.String("merges", "internal/golden/testdata/clip-bpe/merges.txt.gz", "CLIP's published merges, compressed")
	flag.Parse()
	if err := run(*out, *merges, *bits, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "sdfolder:", err)
		os.Exit(1)
	}
}

func run(out, merges string, bits int, seed uint64) error {
	if out == "" {
		return errors.New("-o is missing: the folder to make")
	}
	if bits != 16 && bits != 32 {
		return fmt.Errorf("-bits is %d, expected 16 or 32", bits)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("-o %s: it is there already, or cannot be looked at (%v)", out, err)
	}
	f, err := settings(out, merges)
	if err != nil {
		return err
	}
	for path, shapes := range map[string]map[string][]int{
		"unet/diffusion_pytorch_model": f.UNet.Tensors(), "vae/diffusion_pytorch_model": f.VAE.Tensors(), "text_encoder/model": f.Text.Tensors(),
	} {
		if bits == 16 {
			path += ".fp16"
		}
		if err := write(filepath.Join(out, path+".safetensors"), bench.RandomWeights{Of: shapes, Bits: bits, Seed: seed}); err != nil {
			return err
		}
	}
	return nil
}

// settings writes all but the weights, and opens the folder.
func settings(out, mergesFile string) (*sd.Folder, error) {
	merges, err := os.ReadFile(mergesFile)
	if err != nil {
		return nil, fmt.Errorf("-merges, which are among the repository's test data: %w", err)
	}
	parts, err := fs.Sub(configs, "configs")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(out, parts); err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(merges))
	if err != nil {
		return nil, err
	}
	if merges, err = io.ReadAll(z); err != nil {
		return nil, err
	}
	pairs, err := tokenizer.ParseMerges(string(merges))
	if err != nil {
		return nil, err
	}
	vocabulary, err := json.Marshal(tokenizer.Vocabulary(pairs))
	if err != nil {
		return nil, err
	}
	for name, text := range map[string][]byte{"merges.txt": merges, "vocab.json": vocabulary} {
		if err := os.WriteFile(filepath.Join(out, "tokenizer", name), text, 0o644); err != nil {
			return nil, err
		}
	}
	return sd.Open(out)
}

func write(path string, w bench.RandomWeights) error {
	file := checkpoint.File{Tensors: map[string]checkpoint.Tensor{}, Metadata: map[string]string{"format": "pt"}}
	for _, name := range w.Names() {
		t, err := w.Tensor(name)
		if err != nil {
			return err
		}
		file.Tensors[name] = t
	}
	return checkpoint.Save(path, file)
}
