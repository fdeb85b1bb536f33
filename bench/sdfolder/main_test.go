package main

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/doob-diffusion/doob/bench"
	"github.com/doob-diffusion/doob/internal/golden"
)

// The settings are those of Stable Diffusion 1.5: the published numbers of parameters follow from them. Weights are not written here.
func TestSettings(t *testing.T) {
	f, err := settings(filepath.Join(t.TempDir(), "model"), golden.Path("clip-bpe/merges.txt.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if want := bench.StableUNet(320); !reflect.DeepEqual(f.UNet, want) {
		t.Errorf("the U-Net is %+v, want %+v", f.UNet, want)
	}
	for _, c := range []struct {
		name   string
		shapes map[string][]int
		want   int
	}{{"U-Net", f.UNet.Tensors(), 859_520_964}, {"text encoder", f.Text.Tensors(), 123_060_480}, {"autoencoder", f.VAE.Tensors(), 83_653_863}} {
		n := 0
		for _, shape := range c.shapes {
			size := 1
			for _, s := range shape {
				size *= s
			}
			n += size
		}
		if n != c.want {
			t.Errorf("%s: %d parameters, want %d", c.name, n, c.want)
		}
	}
	if c, err := f.Tokenizer(); err != nil || c.Size() != f.Text.Vocabulary {
		t.Errorf("tokenizer: error %v, want %d tokens", err, f.Text.Vocabulary)
	}
}
