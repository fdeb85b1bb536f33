package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/golden"
)

const (
	unetFile = "unet/diffusion_pytorch_model.safetensors"
	textFile = "text_encoder/model.safetensors"
	someMap  = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"
)

// changeFile rewrites a safetensors file.
func changeFile(t *testing.T, path string, change func(map[string]checkpoint.Tensor)) {
	t.Helper()
	f, err := checkpoint.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	change(f.Tensors)
	if err := checkpoint.Save(path, f); err != nil {
		t.Fatal(err)
	}
}

// changeBytes rewrites a file.
func changeBytes(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o666); err != nil {
		t.Fatal(err)
	}
}

// sharded takes the weights of a U-Net apart into two files with an index.
func sharded(t *testing.T, model string) (second string) {
	t.Helper()
	whole, err := checkpoint.Load(filepath.Join(model, unetFile))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"}
	parts := []checkpoint.File{{Tensors: map[string]checkpoint.Tensor{}}, {Tensors: map[string]checkpoint.Tensor{}}}
	weights := map[string]string{}
	for name, x := range whole.Tensors {
		i := len(name) % 2
		parts[i].Tensors[name], weights[name] = x, names[i]
	}
	for i, name := range names {
		if err := checkpoint.Save(filepath.Join(model, "unet", name), parts[i]); err != nil {
			t.Fatal(err)
		}
	}
	index, err := json.Marshal(map[string]any{"weight_map": weights})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(model, "unet/diffusion_pytorch_model.safetensors.index.json"), index, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(model, unetFile)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(model, "unet", names[1])
}

// Whatever is wrong with a model, the message says what, where and what to do. MODEL is its folder.
func TestBadModels(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, model string)
		args   []string
		want   string
	}{
		"truncated shard": {func(t *testing.T, model string) {
			changeBytes(t, sharded(t, model), func(b []byte) []byte { return b[:len(b)-1000] })
		}, nil, `doob: open model MODEL/unet/diffusion_pytorch_model.safetensors.index.json: diffusion_pytorch_model-00002-of-00002.safetensors: corrupt safetensors file: ` +
			`tensor "up_blocks.2.attentions.1.transformer_blocks.0.ff.net.2.weight" ends at byte 116752 of the data, expected 115728 to 115752: file truncated?`},
		"missing tensor": {func(t *testing.T, model string) {
			changeFile(t, filepath.Join(model, unetFile), func(all map[string]checkpoint.Tensor) { delete(all, someMap) })
		}, nil, "doob: MODEL/" + unetFile + ": unusable weights: missing: " + someMap},
		"wrong shape": {func(t *testing.T, model string) {
			changeFile(t, filepath.Join(model, unetFile), func(all map[string]checkpoint.Tensor) {
				all[someMap] = checkpoint.Tensor{Shape: []int{32, 31}, F32: make([]float32, 32*31)}
			})
		}, nil, "doob: MODEL/" + unetFile + ": unusable weights: " + someMap + " has shape [32 31], expected [32 32]"},
		"NaN": {func(t *testing.T, model string) {
			changeFile(t, filepath.Join(model, unetFile), func(all map[string]checkpoint.Tensor) { all[someMap].F32[7] = float32(math.NaN()) })
		}, []string{"--weights"}, "doob: unusable weights: MODEL/" + unetFile + ": number 8 of tensor " + someMap + " is infinite or NaN"},
		"XL": {func(t *testing.T, model string) {
			changeBytes(t, filepath.Join(model, "model_index.json"), func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"StableDiffusionPipeline"`), []byte(`"StableDiffusionXLPipeline"`), 1)
			})
		}, nil, `doob: model MODEL: unsupported model: MODEL/model_index.json: _class_name is "StableDiffusionXLPipeline", supported is StableDiffusionPipeline FlaxStableDiffusionPipeline`},
		"Git LFS": {func(t *testing.T, model string) {
			changeBytes(t, filepath.Join(model, textFile), func([]byte) []byte {
				return []byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 492265168\n")
			})
		}, nil, "doob: open checkpoint MODEL/" + textFile + ": corrupt safetensors file: it is a Git LFS pointer, a text of 74 bytes in place of the file of 492265168 bytes: git lfs pull fetches the file itself"},
		"junk": {func(t *testing.T, model string) {
			changeBytes(t, filepath.Join(model, textFile), func(b []byte) []byte { return append(b, "junk"...) })
		}, nil, "doob: open checkpoint MODEL/" + textFile + ": corrupt safetensors file: tensors end at byte 209128 of the data, expected its length 209132: bytes after the last tensor"},
		"several": {func(t *testing.T, model string) {
			changeBytes(t, filepath.Join(model, "unet/config.json"), func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"in_channels": 4`), []byte(`"in_channels": 9`), 1)
			})
			if err := os.Remove(filepath.Join(model, textFile)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(model, "text_encoder/pytorch_model.bin"), nil, 0o666); err != nil {
				t.Fatal(err)
			}
		}, nil, `doob: model MODEL: unsupported model: MODEL/unet/config.json: in_channels is 9 (inpainting), supported is out_channels, 4` + "\n" +
			`unsupported model: MODEL/text_encoder has weights as pytorch_model.bin only, supported is safetensors; convert it once, in Python with diffusers: ` +
			`from diffusers import StableDiffusionPipeline as P; P.from_pretrained("MODEL").save_pretrained("NEW", safe_serialization=True)`},
	} {
		t.Run(name, func(t *testing.T) {
			model := filepath.Join(t.TempDir(), "model")
			if err := os.CopyFS(model, os.DirFS(golden.Path("pipeline"))); err != nil {
				t.Fatal(err)
			}
			c.damage(t, model)
			code, out, complaint := doob(t, append([]string{"model", "check", model}, c.args...)...)
			if d := cmp.Diff(c.want, strings.ReplaceAll(strings.TrimSpace(complaint), model, "MODEL")); d != "" || code != exitFailure || out != "" {
				t.Errorf("exit code %d, %d bytes of output (-want +got):\n%s", code, len(out), d)
			}
		})
	}
}

// doob runs a command line here.
func doob(t *testing.T, args ...string) (code int, out, complaint string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	code = Main(t.Context(), args, &b, f)
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, b.String(), string(text)
}

// An adapter of another model is refused with the map that it does not fit, and a way out.
func TestAdapterOfAnotherModel(t *testing.T) {
	const file = "lora/kohya/lora.safetensors"
	code, _, complaint := doob(t, "lora", "info", golden.Path(file))
	const want = `doob: as one of Stable Diffusion 1.x: adapter FILE: unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k: adapter of another model: it is for a map [8, 8], the model's is [320, 320]
as one of Stable Diffusion 2.x: adapter FILE: unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k: adapter of another model: it is for a map [8, 8], the model's is [320, 320]
For a model of other sizes, name its folder: --model DIR
`
	if d := cmp.Diff(want, strings.ReplaceAll(complaint, golden.Path(file), "FILE")); d != "" || code != exitFailure {
		t.Errorf("exit code %d (-want +got):\n%s", code, d)
	}
	code, _, complaint = doob(t, "lora", "merge", "--model", golden.Path("pipeline"), "-o", filepath.Join(t.TempDir(), "x"), golden.Path("clip/model.safetensors"))
	if !strings.Contains(complaint, `tensor "logit_scale" is none of an adapter in the spellings of PEFT, diffusers and kohya`) || code != exitFailure {
		t.Errorf("exit code %d: %s", code, complaint)
	}
}

// On a full disk nothing stays of what could not be written whole, and what was there does.
func TestModelsOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old.safetensors")
	if err := os.WriteFile(old, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	model := golden.Path("pipeline")
	for name, args := range map[string][]string{
		"convert": {"lora", "convert", golden.Path("lora/peft"), "--model", model, "--to", "kohya", "-o", old},
		"merge":   {"lora", "merge", "--model", model, golden.Path("lora/peft"), "-o", filepath.Join(dir, "merged")},
		"pickle":  {"model", "convert", golden.Path("imagereward/ImageReward.pt"), "-o", old},
	} {
		cmd := exec.Command("doob-small-disk", args...)
		cmd.Env = append(os.Environ(), "DOOB_FILE_SIZE=8192")
		var complaint strings.Builder
		cmd.Stderr = &complaint
		err := cmd.Run()
		if code := cmd.ProcessState.ExitCode(); err == nil || code != exitFailure || !strings.Contains(complaint.String(), "file too large") || !strings.Contains(complaint.String(), "cannot write "+dir) {
			t.Errorf("%s: exit code %d: %s", name, code, complaint.String())
		}
		entries, err := os.ReadDir(dir)
		if b, _ := os.ReadFile(old); err != nil || len(entries) != 1 || string(b) != "old" {
			t.Errorf("%s: the folder has %v; err = %v", name, entries, err)
		}
	}
}
