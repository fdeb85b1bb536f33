package sd

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/internal/golden"
)

// tiny copies the tiny model, to be changed.
func tiny(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS(golden.Path("pipeline"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// configuration copies the tiny model without its weights.
func configuration(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(golden.Path("pipeline"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".json" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, golden.Path("pipeline")))
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, b, 0o644))
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// change sets a key of a JSON file; nil takes it out.
func change(t testing.TB, path, key string, value any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := json.Unmarshal(b, &values); err != nil {
		t.Fatal(err)
	}
	if values[key] = value; value == nil {
		delete(values, key)
	}
	if b, err = json.Marshal(values); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
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

func TestOpen(t *testing.T) {
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Folder{
		Dir: golden.Path("pipeline"),
		UNet: UNet{Channels: 4, Widths: []int{8, 16, 32}, Layers: 1, Context: 32, Heads: []int{2, 2, 2}, AttendDown: []bool{true, true, false},
			AttendUp: []bool{false, true, true}, Groups: 4, Epsilon: 1e-5, CosineFirst: true, Side: 8},
		VAE:      VAE{Channels: 3, Latent: 4, Widths: []int{8, 16, 16}, Layers: 1, Groups: 4, Scale: 0.18215},
		Text:     TextEncoder{Vocabulary: 749, Positions: 77, Width: 32, Intermediate: 64, Layers: 3, Heads: 4, QuickGELU: true, Epsilon: 1e-5, EOS: 2},
		Schedule: Schedule{Beta0: 0.00085, Beta1: 0.012, Steps: 1000, Prediction: "epsilon"},
	}
	if d := cmp.Diff(want, f); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if f.VAE.Factor() != 4 {
		t.Errorf("factor %d, want 4", f.VAE.Factor())
	}
	c, err := f.Tokenizer()
	if err != nil || c.Size() != 749 {
		t.Errorf("tokenizer: %v", err)
	}
}

// Keys that are missing mean the class's default.
func TestDefaults(t *testing.T) {
	dir := t.TempDir()
	for part, get := range map[string]func(string) (any, error){
		"unet":         func(d string) (any, error) { return readUNet(d) },
		"vae":          func(d string) (any, error) { return readVAE(d) },
		"text_encoder": func(d string) (any, error) { return readTextEncoder(d) },
		"scheduler":    func(d string) (any, error) { return readSchedule(d) },
	} {
		name := "config.json"
		if part == "scheduler" {
			name = "scheduler_config.json"
		}
		write(t, dir, name, "{}")
		want := map[string]any{
			"unet": UNet{Channels: 4, Widths: []int{320, 640, 1280, 1280}, Layers: 2, Context: 1280, Heads: []int{8, 8, 8, 8}, AttendDown: []bool{true, true, true, false},
				AttendUp: []bool{false, true, true, true}, Groups: 32, Epsilon: 1e-5, CosineFirst: true},
			"vae":          VAE{Channels: 3, Latent: 4, Widths: []int{64}, Layers: 1, Groups: 32, Scale: 0.18215},
			"text_encoder": TextEncoder{Vocabulary: 49408, Positions: 77, Width: 512, Intermediate: 2048, Layers: 12, Heads: 8, QuickGELU: true, Epsilon: 1e-5, EOS: 49407},
			"scheduler":    Schedule{Beta0: 1e-4, Beta1: 0.02, Linear: true, Steps: 1000, Prediction: "epsilon", AlphaToOne: true},
		}[part]
		got, err := get(dir)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v (-want +got):\n%s", part, err, d)
		}
	}
}

// A side of 32 was a default that old versions wrote.
func TestSideOfOldVersions(t *testing.T) {
	for version, want := range map[string]int{"0.8.1": 64, "0.6.0.dev0": 64, "0.9.0": 32, "0.42.1": 32, "1.0": 32, "": 32} {
		dir := t.TempDir()
		write(t, dir, "config.json", `{"sample_size": 32, "_diffusers_version": "`+version+`"}`)
		if u, err := readUNet(dir); err != nil || u.Side != want {
			t.Errorf("version %q: side %d, want %d; err = %v", version, u.Side, want, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	const u, v, e, s = "unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"
	for _, c := range []struct {
		file, key string
		value     any
		want      []string
	}{
		{"model_index.json", "_class_name", "StableDiffusionXLPipeline", []string{`"StableDiffusionXLPipeline"`, "supported is StableDiffusionPipeline"}},
		{"model_index.json", "_class_name", "StableDiffusion3Pipeline", []string{`"StableDiffusion3Pipeline"`}},
		{"model_index.json", "_class_name", "FluxPipeline", []string{`"FluxPipeline"`}},
		{"model_index.json", "text_encoder_2", []string{"transformers", "CLIPTextModelWithProjection"}, []string{"CLIPTextModelWithProjection", "none"}},
		{"model_index.json", "text_encoder", []string{"transformers", "T5EncoderModel"}, []string{"T5EncoderModel", "CLIPTextModel"}},
		{"model_index.json", "unet", []any{nil, nil}, []string{"unet is [null,null]", "UNet2DConditionModel"}},
		{u, "_class_name", "UNet2DModel", []string{`"UNet2DModel"`, "UNet2DConditionModel"}},
		{u, "in_channels", 9, []string{"in_channels is 9", "inpainting", "4"}},
		{u, "in_channels", 8, []string{"InstructPix2Pix"}},
		{u, "in_channels", 7, []string{"upscaler"}},
		{u, "in_channels", 5, []string{"depth"}},
		{u, "addition_embed_type", "text_time", []string{`"text_time"`, "null", "XL"}},
		{u, "encoder_hid_dim", 4096, []string{"4096", "null"}},
		{u, "class_embed_type", "timestep", []string{`"timestep"`}},
		{u, "num_class_embeds", 1000, []string{"1000"}},
		{u, "time_cond_proj_dim", 256, []string{"256", "consistency"}},
		{u, "num_attention_heads", 8, []string{"num_attention_heads is 8"}},
		{u, "resnet_time_scale_shift", "scale_shift", []string{"default"}},
		{u, "dual_cross_attention", true, []string{"dual_cross_attention is true", "false"}},
		{u, "only_cross_attention", []bool{false, true, false}, []string{"[false,true,false]", "false"}},
		{u, "center_input_sample", true, []string{"center_input_sample is true"}},
		{u, "mid_block_type", "UNetMidBlock2DSimpleCrossAttn", []string{"UNetMidBlock2DCrossAttn"}},
		{u, "time_embedding_type", "fourier", []string{"positional"}},
		{u, "down_block_types", []string{"CrossAttnDownBlock2D", "AttnDownBlock2D", "DownBlock2D"}, []string{"AttnDownBlock2D", "DownBlock2D and CrossAttnDownBlock2D"}},
		{u, "up_block_types", []string{"UpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D"}, []string{"ResnetUpsampleBlock2D"}},
		{u, "act_fn", "gelu", []string{"silu"}},
		{u, "attention_type", "gated", []string{`"gated"`, "default"}},
		{u, "transformer_layers_per_block", []int{1, 2, 10}, []string{"[1,2,10]", "1"}},
		{v, "_class_name", "AutoencoderTiny", []string{"AutoencoderKL"}},
		{v, "latent_channels", 16, []string{"16", "in_channels of unet, 4"}},
		{v, "shift_factor", 0.0609, []string{"0.0609", "null"}},
		{v, "latents_mean", []float64{0, 0, 0, 0}, []string{"latents_mean"}},
		{v, "use_quant_conv", false, []string{"use_quant_conv is false", "true"}},
		{v, "mid_block_add_attention", false, []string{"mid_block_add_attention"}},
		{v, "down_block_types", []string{"DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"}, []string{"AttnDownEncoderBlock2D"}},
		{e, "model_type", "t5", []string{`"t5"`, "clip_text_model"}},
		{e, "architectures", []string{"CLIPTextModelWithProjection"}, []string{"CLIPTextModelWithProjection"}},
		{e, "hidden_act", "relu", []string{`"relu"`, "quick_gelu gelu"}},
		{e, "max_position_embeddings", 248, []string{"248", "77"}},
		{e, "hidden_size", 64, []string{"64", "cross_attention_dim of unet, 32"}},
		{s, "beta_schedule", "sigmoid", []string{"sigmoid", "scaled_linear"}},
		{s, "prediction_type", "flow_prediction", []string{"flow_prediction", "epsilon v_prediction sample"}},
		{s, "thresholding", true, []string{"thresholding is true"}},
		{s, "rescale_betas_zero_snr", true, []string{"rescale_betas_zero_snr is true", "false"}},
		{s, "trained_betas", []float64{0.1}, []string{"trained_betas"}},
	} {
		dir := configuration(t)
		change(t, filepath.Join(dir, c.file), c.key, c.value)
		_, err := Open(dir)
		wantError(t, err, ErrUnsupported, append(c.want, c.key, strings.Split(c.file, "/")[0])...)
	}
}

func TestContradictions(t *testing.T) {
	const u, v, s = "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"
	for _, c := range []struct {
		file, key string
		value     any
		want      string
	}{
		{u, "layers_per_block", "two", "expected a whole number"},
		{u, "layers_per_block", 0, "from 1"},
		{u, "block_out_channels", []int{}, "1 to 16 numbers"},
		{u, "block_out_channels", []int{8, 16}, "expected 2, as block_out_channels"},
		{u, "block_out_channels", []int{8, 18, 32}, "18"},
		{u, "attention_head_dim", []int{2, 2}, "expected 3 numbers"},
		{u, "attention_head_dim", 3, "heads"},
		{v, "norm_num_groups", 3, "multiple"},
		{v, "up_block_types", []string{"UpDecoderBlock2D"}, "expected 3"},
		{v, "scaling_factor", 0, "above 0"},
		{s, "beta_end", 0.00001, "beta_start"},
	} {
		dir := configuration(t)
		change(t, filepath.Join(dir, c.file), c.key, c.value)
		_, err := Open(dir)
		wantError(t, err, ErrConfig, c.want, c.file)
	}
	dir := configuration(t)
	write(t, dir, "unet/config.json", "{")
	_, err := Open(dir)
	wantError(t, err, ErrConfig, "unet/config.json")
	_, err = (&Folder{Dir: golden.Path("pipeline"), Text: TextEncoder{Vocabulary: 700}}).Tokenizer()
	wantError(t, err, ErrConfig, "748", "700")
}

// All that is wrong is said at once.
func TestSeveralRefusals(t *testing.T) {
	dir := configuration(t)
	change(t, filepath.Join(dir, "unet/config.json"), "in_channels", 9)
	change(t, filepath.Join(dir, "unet/config.json"), "act_fn", "mish")
	change(t, filepath.Join(dir, "scheduler/scheduler_config.json"), "thresholding", true)
	_, err := Open(dir)
	wantError(t, err, ErrUnsupported, "inpainting", "mish", "thresholding")
}

// Copies by other libraries have other names for the same classes.
func TestAcceptedSpellings(t *testing.T) {
	dir := configuration(t)
	index := filepath.Join(dir, "model_index.json")
	change(t, index, "_class_name", "FlaxStableDiffusionPipeline")
	change(t, index, "unet", []string{"diffusers", "FlaxUNet2DConditionModel"})
	change(t, index, "text_encoder", []string{"transformers", "FlaxCLIPTextModel"})
	change(t, index, "feature_extractor", []string{"transformers", "CLIPFeatureExtractor"})
	change(t, index, "safety_checker", []string{"stable_diffusion", "StableDiffusionSafetyChecker"})
	change(t, filepath.Join(dir, "unet/config.json"), "only_cross_attention", []bool{false, false, false})
	change(t, filepath.Join(dir, "unet/config.json"), "attention_head_dim", []int{2, 4, 8})
	change(t, filepath.Join(dir, "scheduler/scheduler_config.json"), "_class_name", "PNDMScheduler")
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]int{2, 4, 8}, f.UNet.Heads); d != "" {
		t.Error(d)
	}
}

func TestNoFolder(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir)
	wantError(t, err, fs.ErrNotExist, "model_index.json", dir)
	_, err = Open(filepath.Join(dir, "x"))
	wantError(t, err, fs.ErrNotExist, "x")
	write(t, dir, "v1-5-pruned.ckpt", "")
	_, err = Open(dir)
	wantError(t, err, ErrUnsupported, "v1-5-pruned.ckpt", "from_single_file", "save_pretrained")
	_, err = Open(filepath.Join(dir, "v1-5-pruned.ckpt"))
	wantError(t, err, ErrUnsupported, "one file", "from_single_file")
	dir = tiny(t)
	if err := os.RemoveAll(filepath.Join(dir, "vae")); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir)
	wantError(t, err, fs.ErrNotExist, "vae")
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
