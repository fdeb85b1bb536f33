package lora

import (
	"errors"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/golden"
)

// tiny returns the shapes of the tiny model's tensors, as its files have them.
func tiny(t testing.TB) Model {
	t.Helper()
	shapes := func(file string) map[string][]int {
		r, err := checkpoint.Open(golden.Path(file))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		out := map[string][]int{}
		for _, name := range r.Names() {
			info, _ := r.Info(name)
			out[strings.TrimPrefix(name, "text_model.")] = info.Shape
		}
		return out
	}
	return Model{UNet: shapes("pipeline/unet/diffusion_pytorch_model.safetensors"), Text: shapes("pipeline/text_encoder/model.safetensors")}
}

func read(t testing.TB, path string, spelling Spelling) Adapter {
	t.Helper()
	a, got, err := Load(path, tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	if got != spelling {
		t.Errorf("%s is spelt as %s, want %s", path, got, spelling)
	}
	return a
}

// One adapter in five spellings, with r = 4 and alpha = 8, which two of them cannot hold.
func TestFiveSpellings(t *testing.T) {
	file, err := checkpoint.Load(golden.Path("lora/peft/adapter_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Pair{}
	for name, a := range file.Tensors {
		if name, ok := strings.CutSuffix(name, ".lora_A.weight"); ok {
			b := file.Tensors[name+".lora_B.weight"]
			want[strings.TrimPrefix(name, "base_model.model.")] = Pair{Rank: 4, In: a.Shape[1], Out: b.Shape[0], A: a.F32, B: b.F32, Scale: 2}
		}
	}
	if len(want) != 56 || len(want["mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"].A) != 128 {
		t.Fatalf("%d pairs", len(want))
	}
	for name, c := range map[string]struct {
		spelling Spelling
		scale    float64
	}{
		"peft": {PEFT, 2}, "peft/adapter_model.safetensors": {PEFT, 2}, "diffusers": {Diffusers, 2}, "diffusers-no-alpha": {Diffusers, 1},
		"attn-procs": {Processors, 1}, "kohya/lora.safetensors": {Kohya, 2},
	} {
		scaled := map[string]Pair{}
		for module, p := range want {
			p.Scale = c.scale
			scaled[module] = p
		}
		got := read(t, golden.Path("lora/"+name), c.spelling)
		if d := cmp.Diff(Adapter{UNet: scaled, Text: map[string]Pair{}}, got); d != "" {
			t.Errorf("%s (-want +got):\n%.2000s", name, d)
		}
		if got.Parameters() != count(want) {
			t.Errorf("%s: %d parameters, want %d", name, got.Parameters(), count(want))
		}
	}
}

func count(pairs map[string]Pair) (n int) {
	for _, p := range pairs {
		n += len(p.A) + len(p.B)
	}
	return n
}

// What is written is read back as what it was, with the scale in B and one rank.
func TestRoundTrips(t *testing.T) {
	model := tiny(t)
	rapid.Check(t, func(rt *rapid.T) {
		a := Adapter{UNet: map[string]Pair{}, Text: map[string]Pair{}}
		for _, part := range []struct {
			pairs  map[string]Pair
			shapes map[string][]int
			most   int
		}{{a.UNet, model.UNet, 4}, {a.Text, model.Text, 2}} {
			var names []string
			for name, shape := range part.shapes {
				if module, ok := strings.CutSuffix(name, ".weight"); ok && (len(shape) == 2 && !strings.Contains(name, "embedding") || len(shape) == 4 && shape[2] == 1) {
					names = append(names, module)
				}
			}
			slices.Sort(names)
			for _, module := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, part.most, rapid.ID).Draw(rt, "modules") {
				shape := part.shapes[module+".weight"]
				p := Pair{Rank: rapid.IntRange(1, 5).Draw(rt, "rank"), In: shape[1], Out: shape[0], Scale: rapid.SampledFrom([]float64{0.5, 1, 2, 3.7}).Draw(rt, "scale"), Convolution: len(shape) == 4}
				p.A, p.B = make([]float32, p.Rank*p.In), make([]float32, p.Out*p.Rank)
				for i := range p.A {
					p.A[i] = float32(i%7) - 3
				}
				for i := range p.B {
					p.B[i] = float32(i%5) / 3
				}
				part.pairs[module] = p
			}
		}
		if len(a.UNet)+len(a.Text) == 0 {
			return
		}
		want := Adapter{UNet: map[string]Pair{}, Text: map[string]Pair{}}
		for module, p := range a.UNet {
			want.UNet[module] = p.plain(slices.Max(a.Ranks()))
		}
		for module, p := range a.Text {
			want.Text[module] = p.plain(slices.Max(a.Ranks()))
		}
		spelling := rapid.SampledFrom([]Spelling{PEFT, Diffusers, Kohya}).Draw(rt, "spelling")
		path := filepath.Join(t.TempDir(), "x.safetensors")
		err := a.Save(path, spelling)
		if spelling == PEFT && len(a.Text) > 0 {
			if !errors.Is(err, ErrUnsupported) {
				rt.Fatalf("err = %v, want ErrUnsupported", err)
			}
			return
		}
		if err != nil {
			rt.Fatal(err)
		}
		got, read, err := Load(path, model)
		if d := cmp.Diff(want, got); err != nil || read != spelling || d != "" {
			rt.Fatalf("%s, read as %s: %v (-want +got):\n%s", spelling, read, err, d)
		}
	})
}

func TestDelta(t *testing.T) {
	p := Pair{Rank: 2, In: 3, Out: 2, A: []float32{1, 2, 3, 4, 5, 6}, B: []float32{1, 0, 2, -1}, Scale: 0.5}
	if d := cmp.Diff([]float32{0.5, 1, 1.5, -1, -0.5, 0}, p.Delta()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for rank := 2; rank < 5; rank++ {
		if got := p.plain(rank); got.Scale != 1 || got.Rank != rank || !slices.Equal(got.Delta(), p.Delta()) {
			t.Errorf("scale in B, rank %d: %v", rank, got)
		}
	}
}

func wantError(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("err = %v, want %v", err, kind)
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("err = %v, want %q in it", err, w)
		}
	}
}

const module = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q" // [32, 32]

func matrix(shape ...int) checkpoint.Tensor {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return checkpoint.Tensor{Shape: shape, F32: make([]float32, n)}
}

func TestRefusedTensors(t *testing.T) {
	whole := func() map[string]checkpoint.Tensor {
		return map[string]checkpoint.Tensor{"unet." + module + ".lora_A.weight": matrix(2, 32), "unet." + module + ".lora_B.weight": matrix(32, 2)}
	}
	long := "lora_unet_" + strings.ReplaceAll(module, ".", "_")
	nan := matrix(2, 32)
	nan.F32[5] = float32(math.NaN())
	for _, c := range map[string]struct {
		more  map[string]checkpoint.Tensor
		kind  error
		words []string
	}{
		"DoRA":             {map[string]checkpoint.Tensor{"unet." + module + ".dora_scale": matrix(32, 1)}, ErrUnsupported, []string{"DoRA", "dora_scale"}},
		"LoHa":             {map[string]checkpoint.Tensor{long + ".hada_w1_a": matrix(2, 2)}, ErrUnsupported, []string{"LoHa"}},
		"LoKr":             {map[string]checkpoint.Tensor{long + ".lokr_w1": matrix(2, 2)}, ErrUnsupported, []string{"LoKr"}},
		"OFT":              {map[string]checkpoint.Tensor{long + ".oft_blocks": matrix(2, 2)}, ErrUnsupported, []string{"OFT"}},
		"XL":               {map[string]checkpoint.Tensor{"lora_unet_input_blocks_4_1_proj_in.alpha": matrix()}, ErrUnsupported, []string{"XL"}},
		"XL text":          {map[string]checkpoint.Tensor{"lora_te2_text_model_x.alpha": matrix()}, ErrUnsupported, []string{"XL"}},
		"no tensor of it":  {map[string]checkpoint.Tensor{"conv_in.weight": matrix()}, ErrUnsupported, []string{"conv_in.weight"}},
		"alpha":            {map[string]checkpoint.Tensor{"unet." + module + ".alpha": matrix()}, ErrUnsupported, []string{".alpha"}},
		"mixed":            {map[string]checkpoint.Tensor{long + ".lora_down.weight": matrix(2, 32)}, ErrUnsupported, []string{"diffusers and kohya"}},
		"twice":            {map[string]checkpoint.Tensor{"unet." + module + ".lora.up.weight": matrix(32, 2)}, ErrCorrupt, []string{module, "same half"}},
		"one half":         {map[string]checkpoint.Tensor{"unet.mid_block.x.lora_B.weight": matrix(32, 2)}, ErrCorrupt, []string{"mid_block.x", "only one"}},
		"no such module":   {map[string]checkpoint.Tensor{"unet.mid.lora_B.weight": matrix(2, 2), "unet.mid.lora_A.weight": matrix(2, 2)}, ErrModel, []string{"no module unet.mid"}},
		"another width":    {map[string]checkpoint.Tensor{"unet." + module + ".lora_A.weight": matrix(2, 48)}, ErrModel, []string{"[32, 48]", "[32, 32]", module}},
		"ranks":            {map[string]checkpoint.Tensor{"unet." + module + ".lora_A.weight": matrix(3, 32)}, ErrCorrupt, []string{"[3 32]", "[32 2]"}},
		"dimensions":       {map[string]checkpoint.Tensor{"unet." + module + ".lora_A.weight": matrix(64)}, ErrCorrupt, []string{"[64]"}},
		"a kernel":         {map[string]checkpoint.Tensor{"unet." + module + ".lora_A.weight": matrix(2, 32, 3, 3)}, ErrUnsupported, []string{"1×1"}},
		"a 3×3 map":        {map[string]checkpoint.Tensor{"unet.conv_in.lora_A.weight": matrix(2, 4, 1, 1), "unet.conv_in.lora_B.weight": matrix(8, 2, 1, 1)}, ErrUnsupported, []string{"conv_in", "[8 4 3 3]"}},
		"NaN":              {map[string]checkpoint.Tensor{"unet." + module + ".lora_A.weight": nan}, ErrCorrupt, []string{module, "number 6"}},
		"of whole numbers": {map[string]checkpoint.Tensor{"unet." + module + ".lora_A.weight": {Shape: []int{2, 32}, I64: make([]int64, 64)}}, ErrCorrupt, []string{"I64"}},
	} {
		tensors := whole()
		maps.Copy(tensors, c.more)
		_, _, err := assemble(tensors, nil, tiny(t), nil)
		wantError(t, err, c.kind, c.words...)
	}
	if _, _, err := assemble(whole(), nil, tiny(t), nil); err != nil {
		t.Error(err)
	}
	_, _, err := assemble(nil, nil, tiny(t), nil)
	wantError(t, err, ErrCorrupt, "no tensors")
}

func TestKohyaAlpha(t *testing.T) {
	long := "lora_unet_" + strings.ReplaceAll(module, ".", "_")
	for name, c := range map[string]struct {
		alpha checkpoint.Tensor
		want  float64
	}{
		"missing": {checkpoint.Tensor{}, 1}, "its default": {checkpoint.Tensor{F32: []float32{1}}, 0.25}, "F16": {checkpoint.Tensor{F16: []checkpoint.Float16{checkpoint.ToFloat16(6)}}, 1.5},
		"one dimension": {checkpoint.Tensor{Shape: []int{1}, F32: []float32{8}}, 2},
	} {
		tensors := map[string]checkpoint.Tensor{long + ".lora_down.weight": matrix(4, 32), long + ".lora_up.weight": matrix(32, 4)}
		if name != "missing" {
			tensors[long+".alpha"] = c.alpha
		}
		a, _, err := assemble(tensors, nil, tiny(t), nil)
		if err != nil || a.UNet[module].Scale != c.want {
			t.Errorf("%s: scale %g (%v), want %g", name, a.UNet[module].Scale, err, c.want)
		}
	}
	_, _, err := assemble(map[string]checkpoint.Tensor{long + ".lora_down.weight": matrix(4, 32), long + ".lora_up.weight": matrix(32, 4), long + ".alpha": matrix(2)}, nil, tiny(t), nil)
	wantError(t, err, ErrCorrupt, "alpha")
}

// Scales by PEFT's settings, at rank 4.
func TestScales(t *testing.T) {
	for config, want := range map[string]float64{
		`{}`: 1, `{"lora_alpha": 8}`: 2, `{"lora_alpha": 8, "use_rslora": true}`: 4, `{"lora_alpha": 8, "alpha_pattern": {"to_q": 2}}`: 0.5,
		`{"lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 2}}`: 0.5, `{"lora_alpha": 8, "alpha_pattern": {"o_q": 2}}`: 2, `{"lora_alpha": 8, "alpha_pattern": {"to_k": 2}}`: 2,
		`{"lora_alpha": 8, "alpha_pattern": {"^mid_block": 2}}`: 0.5, `{"lora_alpha": 8, "alpha_pattern": {"attn[12].to_(q|k)": 16}}`: 4,
		`{"lora_alpha": 8, "alpha_pattern": {"to_q": 3, "` + module + `": 2}}`: 0.5, `{"lora_alpha": 8, "bias": "none", "modules_to_save": [], "peft_type": "LORA"}`: 2,
	} {
		s, err := parseScales([]byte(config), "x")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.of(module, 4); err != nil || got != want {
			t.Errorf("%s: scale %g (%v), want %g", config, got, err, want)
		}
	}
	for config, words := range map[string][]string{
		`{"use_dora": true}`: {"use_dora is true", "false"}, `{"bias": "all"}`: {"bias is all", "none"}, `{"modules_to_save": ["conv_in"]}`: {"modules_to_save is [conv_in]"},
		`{"peft_type": "LOHA"}`: {"LOHA"}, `{"lora_bias": true}`: {"lora_bias"}, `{"fan_in_fan_out": true}`: {"fan_in_fan_out"},
	} {
		_, err := parseScales([]byte(config), "there")
		wantError(t, err, ErrUnsupported, append(words, "there")...)
	}
	_, err := parseScales([]byte(`{`), "there")
	wantError(t, err, ErrCorrupt, "there")
	for _, config := range []string{`{"alpha_pattern": {"(": 1}}`, `{"alpha_pattern": {"to_q": 1, "attn1.to_q": 2}}`} {
		s, err := parseScales([]byte(config), "x")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.of(module, 4)
		wantError(t, err, ErrUnsupported, "alpha_pattern")
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	_, _, err := Load(dir, tiny(t))
	wantError(t, err, fs.ErrNotExist, "adapter_model.safetensors", dir)
	_, _, err = Load(filepath.Join(dir, "x"), tiny(t))
	wantError(t, err, fs.ErrNotExist, "x")
	if err := os.CopyFS(dir, os.DirFS(golden.Path("lora/peft"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "adapter_config.json")); err != nil {
		t.Fatal(err)
	}
	_, _, err = Load(dir, tiny(t))
	wantError(t, err, fs.ErrNotExist, "adapter_config.json", dir)
	err = (Adapter{}).Save(filepath.Join(dir, "y"), Kohya)
	wantError(t, err, err, "no pairs")
	a := read(t, golden.Path("lora/kohya/lora.safetensors"), Kohya)
	wantError(t, a.Save(filepath.Join(dir, "y"), Processors), ErrUnsupported, "processors")
	wantError(t, a.Save(filepath.Join(dir, "y"), Kohya), ErrUnsupported, "y: ", ".safetensors")
}

// Whatever tensors are called, they are parts of modules that the model has or an error.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"unet." + module + ".lora_A.weight", "lora_unet_" + strings.ReplaceAll(module, ".", "_") + ".alpha", "a.processor.to_out_lora.up.weight", "base_model.model.x.lora_B.weight",
		"text_encoder.text_model.encoder.layers.0.mlp.fc1.lora.down.weight", "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"} {
		f.Add(name)
	}
	model := tiny(f)
	names := newModules(model)
	f.Fuzz(func(t *testing.T, name string) {
		k, err := names.parse(name)
		if (err == nil) == (errors.Is(err, ErrUnsupported) || errors.Is(err, ErrModel)) {
			t.Fatalf("%q: err = %v", name, err)
		}
		if err != nil {
			return
		}
		if again, err := names.parse(name); again != k || err != nil {
			t.Fatalf("%q is %v, then %v (%v)", name, k, again, err)
		}
		_, _, err = assemble(map[string]checkpoint.Tensor{name: matrix(2, 2)}, nil, model, func() (scales, error) { return scales{}, nil })
		if err == nil {
			t.Fatalf("%q alone is an adapter", name)
		}
	})
}
