package sd

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/golden"
)

func count(shapes map[string][]int, begins ...string) (parameters int) {
	for name, shape := range shapes {
		if len(begins) > 0 && !slices.ContainsFunc(begins, func(b string) bool { return strings.HasPrefix(name, b) }) {
			continue
		}
		n := 1
		for _, s := range shape {
			n *= s
		}
		parameters += n
	}
	return parameters
}

// The published models, by the numbers that diffusers and transformers give.
func TestSizesOfPublishedModels(t *testing.T) {
	u1 := UNet{Channels: 4, Widths: []int{320, 640, 1280, 1280}, Layers: 2, Context: 768, AttendDown: []bool{true, true, true, false}, AttendUp: []bool{false, true, true, true}}
	u2 := u1
	u2.Context, u2.Linear = 1024, true
	v := VAE{Channels: 3, Latent: 4, Widths: []int{128, 256, 512, 512}, Layers: 2}
	e1 := TextEncoder{Vocabulary: 49408, Positions: 77, Width: 768, Intermediate: 3072, Layers: 12}
	e2 := TextEncoder{Vocabulary: 49408, Positions: 77, Width: 1024, Intermediate: 4096, Layers: 23}
	for _, c := range []struct {
		name                 string
		got, want            int
		tensors, wantTensors int
	}{
		{"U-Net 1.5", count(u1.Tensors()), 859_520_964, len(u1.Tensors()), 686},
		{"U-Net 2.1", count(u2.Tensors()), 865_910_724, len(u2.Tensors()), 686},
		{"text encoder 1.5", count(e1.Tensors()), 123_060_480, len(e1.Tensors()), 196},
		{"text encoder 2.1", count(e2.Tensors()), 340_387_840, len(e2.Tensors()), 372},
		{"encoder", count(v.Tensors(), "encoder."), 34_163_592, len(v.Tensors()), 248},
		{"decoder", count(v.Tensors(), "decoder."), 49_490_179, len(v.Tensors()), 248},
		{"between", count(v.Tensors(), "quant_conv", "post_quant_conv"), 92, len(v.Tensors()), 248},
	} {
		if c.got != c.want || c.tensors != c.wantTensors {
			t.Errorf("%s: %d parameters in %d tensors, want %d in %d", c.name, c.got, c.tensors, c.want, c.wantTensors)
		}
	}
}

func weightsOf(t testing.TB, f *Folder) map[string]*Weights {
	t.Helper()
	out := map[string]*Weights{}
	for name, open := range map[string]func() (*Weights, error){"unet": f.UNetWeights, "vae": f.VAEWeights, "text_encoder": f.TextWeights} {
		w, err := open()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		})
		out[name] = w
	}
	return out
}

func TestWeightsOfTheTinyModel(t *testing.T) {
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	weights := weightsOf(t, f)
	for part, w := range weights {
		for _, name := range w.Names() {
			x, err := w.Tensor(name)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(x.Shape, w.Shape(name)) || x.DType() != checkpoint.F32 {
				t.Errorf("%s: %s is %s%v, want F32%v", part, name, x.DType(), x.Shape, w.Shape(name))
			}
		}
	}
	if d := cmp.Diff(map[checkpoint.DType]int{checkpoint.F32: count(f.UNet.Tensors())}, weights["unet"].Parameters()); d != "" {
		t.Errorf("parameters (-want +got):\n%s", d)
	}
	if _, err := weights["unet"].Tensor("conv_in.gamma"); err == nil || !strings.Contains(err.Error(), "conv_in.gamma") {
		t.Errorf("err = %v", err)
	}

	// Today's names, as current libraries write them.
	if d := cmp.Diff(golden.JSON[[]string](t, "variants/text-encoder-v5-names.json"), weights["text_encoder"].Names()); d != "" {
		t.Errorf("text encoder (-want +got):\n%s", d)
	}
	renamed, err := checkpoint.Load(golden.Path("variants/vae-new-names.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if len(renamed.Tensors) != 20 {
		t.Errorf("%d renamed tensors, want 20", len(renamed.Tensors))
	}
	for name, want := range renamed.Tensors {
		got, err := weights["vae"].Tensor(name)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
	}
}

// The same weights under today's names, which is what current libraries write, are the same model.
func TestTodaysNames(t *testing.T) {
	dir := tiny(t)
	for path, rename := range map[string]func(string) string{"vae/diffusion_pytorch_model.safetensors": selfAttentionNames.Replace, "text_encoder/model.safetensors": textName} {
		edit(t, filepath.Join(dir, path), func(f *checkpoint.File) {
			for name, x := range f.Tensors {
				delete(f.Tensors, name)
				if !strings.HasSuffix(name, "position_ids") {
					f.Tensors[rename(name)] = x
				}
			}
		})
	}
	old, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	now, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	was, is := weightsOf(t, old), weightsOf(t, now)
	for part := range was {
		for _, name := range was[part].Names() {
			a, errA := was[part].Tensor(name)
			b, errB := is[part].Tensor(name)
			if d := cmp.Diff(a, b); errA != nil || errB != nil || d != "" {
				t.Fatalf("%s %s: %v, %v\n%s", part, name, errA, errB, d)
			}
		}
	}
}

// edit changes a safetensors file.
func edit(t testing.TB, path string, change func(f *checkpoint.File)) {
	t.Helper()
	f, err := checkpoint.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	change(&f)
	if err := checkpoint.Save(path, f); err != nil {
		t.Fatal(err)
	}
}

// sd2 opens the U-Net in a folder of the variants.
func sd2(t testing.TB, name, variant string) *Weights {
	t.Helper()
	u, err := readUNet(golden.Path("variants/" + name))
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{2, 4}; !u.Linear || !u.UpcastScores || !slices.Equal(u.Heads, want) {
		t.Errorf("linear %t, upcast %t, heads %v, want true, true, %v", u.Linear, u.UpcastScores, u.Heads, want)
	}
	f := &Folder{Dir: golden.Path("variants"), Variant: variant, UNet: u}
	w, err := f.weights(name, "diffusion_pytorch_model", u.Tensors(), strings.TrimSpace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// Half precision stays so in memory; the .fp16 file has equal values, the shards those rounded to BF16.
func TestPrecisions(t *testing.T) {
	full, half, brain := sd2(t, "sd2", ""), sd2(t, "sd2", "fp16"), sd2(t, "sd2-bf16-sharded", "")
	if other := sd2(t, "sd2", "bf16"); other.source.Path() != full.source.Path() {
		t.Errorf("a variant that is not there reads %s", other.source.Path())
	}
	for _, name := range full.Names() {
		var x [3]checkpoint.Tensor
		for i, w := range []*Weights{full, half, brain} {
			var err error
			if x[i], err = w.Tensor(name); err != nil {
				t.Fatal(err)
			}
		}
		if x[0].DType() != checkpoint.F32 || x[1].DType() != checkpoint.F16 || x[2].DType() != checkpoint.BF16 {
			t.Errorf("%s: %s, %s, %s", name, x[0].DType(), x[1].DType(), x[2].DType())
		}
		for i, v := range x[0].F32 {
			if x[1].F16[i].Float32() != v || x[2].BF16[i] != checkpoint.ToBFloat16(v) {
				t.Fatalf("%s[%d] is %g, %g, %g", name, i, v, x[1].F16[i].Float32(), x[2].BF16[i].Float32())
			}
		}
	}
}

func TestUnusableWeights(t *testing.T) {
	const unet = "unet/diffusion_pytorch_model.safetensors"
	for _, c := range map[string]struct {
		change func(f *checkpoint.File)
		want   []string
	}{
		"missing": {func(f *checkpoint.File) { delete(f.Tensors, "conv_in.bias") }, []string{"missing: conv_in.bias"}},
		"unknown": {func(f *checkpoint.File) { f.Tensors["label_emb.weight"] = checkpoint.Tensor{Shape: []int{0}} }, []string{"not known", "label_emb.weight"}},
		"shape": {func(f *checkpoint.File) {
			f.Tensors["conv_out.bias"] = checkpoint.Tensor{Shape: []int{3}, F32: make([]float32, 3)}
		}, []string{"conv_out.bias has shape [3], expected [4]"}},
		"whole numbers": {func(f *checkpoint.File) {
			f.Tensors["conv_out.bias"] = checkpoint.Tensor{Shape: []int{4}, I64: make([]int64, 4)}
		}, []string{"conv_out.bias is I64"}},
		"several": {func(f *checkpoint.File) { clear(f.Tensors) }, []string{"and ", " more"}},
	} {
		dir := tiny(t)
		edit(t, filepath.Join(dir, unet), c.change)
		f, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.UNetWeights()
		wantError(t, err, ErrWeights, append(c.want, filepath.Join(dir, unet))...)
	}
	dir := tiny(t)
	edit(t, filepath.Join(dir, "vae/diffusion_pytorch_model.safetensors"), func(f *checkpoint.File) {
		f.Tensors["decoder.mid_block.attentions.0.to_q.bias"] = f.Tensors["decoder.mid_block.attentions.0.query.bias"]
	})
	_, err := (&Folder{Dir: dir, VAE: VAE{Channels: 3, Latent: 4, Widths: []int{8, 16, 16}, Layers: 1}}).VAEWeights()
	wantError(t, err, ErrWeights, "to_q.bias", "query.bias")
}

func TestWeightsThatAreNotFinite(t *testing.T) {
	for bad, x := range map[string]checkpoint.Tensor{
		"NaN":      {F32: []float32{0, 0, float32(math.NaN()), 0}},
		"−∞":       {F32: []float32{0, 0, float32(math.Inf(-1)), 0}},
		"F16 +∞":   {F16: []checkpoint.Float16{0, 0x7bff, 0x7c00, 0}},
		"BF16 NaN": {BF16: []checkpoint.BFloat16{0, 0xff7f, 0xff81, 0}},
		"F64 NaN":  {F64: []float64{0, math.MaxFloat64, math.NaN(), 0}},
	} {
		dir := tiny(t)
		edit(t, filepath.Join(dir, "unet/diffusion_pytorch_model.safetensors"), func(f *checkpoint.File) {
			x.Shape = []int{4}
			f.Tensors["conv_out.bias"] = x
		})
		f, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		w, err := f.UNetWeights()
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Tensor("conv_out.bias")
		wantError(t, err, ErrWeights, "number 3 of tensor conv_out.bias", dir)
		if _, err := w.Tensor("conv_in.bias"); err != nil {
			t.Errorf("%s: %v", bad, err)
		}
		w.Close()
	}
}

func TestTruncatedShard(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "unet"), os.DirFS(golden.Path("variants/sd2-bf16-sharded"))); err != nil {
		t.Fatal(err)
	}
	u, err := readUNet(filepath.Join(dir, "unet"))
	if err != nil {
		t.Fatal(err)
	}
	f := &Folder{Dir: dir, UNet: u}
	shard := filepath.Join(dir, "unet/diffusion_pytorch_model-00002-of-00003.safetensors")
	if err := os.Truncate(shard, 60_000); err != nil {
		t.Fatal(err)
	}
	_, err = f.UNetWeights()
	wantError(t, err, checkpoint.ErrCorrupt, "00002-of-00003", "truncated")
	if err := os.Remove(shard); err != nil {
		t.Fatal(err)
	}
	_, err = f.UNetWeights()
	wantError(t, err, os.ErrNotExist, "00002-of-00003")
}

func TestOtherFormats(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"diffusion_pytorch_model.bin", "from_pretrained("}, {"diffusion_pytorch_model.fp16.bin", "from_pretrained("},
		{"diffusion_flax_model.msgpack", "from_flax=True"}, {"model.ckpt", "safe_serialization=True"},
	} {
		dir := tiny(t)
		if err := os.Rename(filepath.Join(dir, "unet/diffusion_pytorch_model.safetensors"), filepath.Join(dir, "unet", c.name)); err != nil {
			t.Fatal(err)
		}
		f, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.UNetWeights()
		wantError(t, err, ErrUnsupported, c.name, c.want, dir, "safetensors")
	}
}

// Reading a tensor takes the memory of that tensor, in the precision of the file.
func TestMemoryOfReading(t *testing.T) {
	const n = 1 << 22
	path := filepath.Join(t.TempDir(), "x.safetensors")
	tensors := map[string]checkpoint.Tensor{}
	for _, name := range []string{"a", "b", "c", "d"} {
		tensors[name] = checkpoint.Tensor{Shape: []int{n}, F16: make([]checkpoint.Float16, n)}
	}
	if err := checkpoint.Save(path, checkpoint.File{Tensors: tensors}); err != nil {
		t.Fatal(err)
	}
	shapes := map[string][]int{}
	for name := range maps.Keys(tensors) {
		shapes[name] = []int{n}
	}
	r, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w, err := newWeights(r, shapes, strings.TrimSpace)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Tensor("c"); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 2*n+1<<20 {
		t.Errorf("reading %d bytes of %d allocates %d", 2*n, 8*n, got)
	}
}
