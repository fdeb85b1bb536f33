package sd

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
)

func kohya(t testing.TB, f *Folder) lora.Adapter {
	t.Helper()
	a, _, err := lora.Load(golden.Path("lora/kohya/lora.safetensors"), lora.Model{UNet: f.UNet.Tensors(), Text: f.Text.Tensors()})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A merged model computes what diffusers computes with the adapter beside the model, and at half the scale twice merged.
func TestMerge(t *testing.T) {
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	a := kohya(t, f)
	for name, adapters := range map[string][]lora.Adapter{"one": {a}, "two halves": {a.Scaled(0.5), a.Scaled(0.5)}} {
		dir := filepath.Join(t.TempDir(), "merged")
		if left, err := f.Merge(t.Context(), dir, adapters...); err != nil || len(left) > 0 {
			t.Fatal(left, err)
		}
		m, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		e := oracle.Open(t)
		given := read(t, "unet/forward.safetensors")
		loadedUNet := loaded(t, e, nil, m.UNetWeights)
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{m.UNet.Apply(loadedUNet, in[0], in[1], in[2])}
		}, given.pictures("sample"), given.input("timestep"), given.input("encoder_hidden_states"))
		oracle.Alike(t, name, out[0], read(t, "lora/lora.safetensors").values("out"), forward)

		// All that no adapter changes is the same, to the byte.
		err = fs.WalkDir(os.DirFS(f.Dir), ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Dir(path) == "unet" && filepath.Ext(path) == ".safetensors" {
				return err
			}
			want, _ := os.ReadFile(filepath.Join(f.Dir, path))
			if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s is another file; err = %v", path, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Shards keep their names and precision. Old names of the text encoder are found. What is not read is left out where it would contradict.
func TestMergeKeepsFiles(t *testing.T) {
	dir := tiny(t)
	unet := filepath.Join(dir, "unet", "diffusion_pytorch_model.safetensors")
	whole, err := checkpoint.Load(unet)
	if err != nil {
		t.Fatal(err)
	}
	half := checkpoint.File{Tensors: map[string]checkpoint.Tensor{}}
	for name, x := range whole.Tensors {
		y := checkpoint.Tensor{Shape: x.Shape, F16: make([]checkpoint.Float16, len(x.F32))}
		for i, v := range x.F32 {
			y.F16[i] = checkpoint.ToFloat16(v)
		}
		half.Tensors[name] = y
	}
	if err := checkpoint.Save(filepath.Join(dir, "unet", "diffusion_pytorch_model.fp16.safetensors"), half); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"unet/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.bin"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	const module, inText = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "encoder.layers.0.mlp.fc1"
	shape, textShape := f.UNet.Tensors()[module+".weight"], f.Text.Tensors()[inText+".weight"]
	pair := func(shape []int) lora.Pair {
		p := lora.Pair{Rank: 1, Out: shape[0], In: shape[1], A: make([]float32, shape[1]), B: make([]float32, shape[0]), Scale: 0.5}
		p.A[1], p.B[2] = 3, 2 // W[2, 1] += 3
		return p
	}
	to := filepath.Join(t.TempDir(), "merged")
	left, err := f.Merge(t.Context(), to, lora.Adapter{UNet: map[string]lora.Pair{module: pair(shape)}, Text: map[string]lora.Pair{inText: pair(textShape)}})
	if err != nil || !slices.Equal(left, []string{"unet/diffusion_pytorch_model.bin"}) {
		t.Errorf("left %q; err = %v", left, err)
	}
	got, err := checkpoint.Load(filepath.Join(to, "unet", "diffusion_pytorch_model.fp16.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range half.Tensors {
		y := slices.Clone(x.F16)
		if at := 2*shape[1] + 1; name == module+".weight" {
			y[at] = checkpoint.ToFloat16(y[at].Float32() + 3)
		}
		if !slices.Equal(got.Tensors[name].F16, y) {
			t.Errorf("%s is another", name)
		}
	}
	const file = "text_encoder/model.safetensors"
	before, errBefore := checkpoint.Load(filepath.Join(dir, file))
	after, errAfter := checkpoint.Load(filepath.Join(to, file))
	if errBefore != nil || errAfter != nil {
		t.Fatal(errBefore, errAfter)
	}
	name, at := "text_model."+inText+".weight", 2*textShape[1]+1
	oracle.Near(t, "text", after.Tensors[name].F32[at], float64(before.Tensors[name].F32[at])+3, 1e-6)
	if len(after.Tensors) != len(before.Tensors) || engine.Size(textShape) != len(after.Tensors[name].F32) {
		t.Errorf("%d tensors, want %d", len(after.Tensors), len(before.Tensors))
	}

	// A folder that is there stays as it is; one that fails does not stay.
	_, err = f.Merge(t.Context(), to, lora.Adapter{})
	wantError(t, err, fs.ErrExist, "new folder")
	_, err = f.Merge(t.Context(), filepath.Join(dir, "merged"), lora.Adapter{})
	oracle.WantError(t, err, "own folder")
	large := pair(shape)
	large.Scale = 1e5
	to = filepath.Join(t.TempDir(), "merged")
	_, err = f.Merge(t.Context(), to, lora.Adapter{UNet: map[string]lora.Pair{module: large}})
	wantError(t, err, ErrWeights, module, "F16 cannot hold", "fp16.safetensors")
	if _, err := os.Stat(to); err == nil {
		t.Error("half a folder stays")
	}
}
