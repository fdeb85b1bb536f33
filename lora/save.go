package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// Save writes the adapter: PEFT to a folder that path names, with the names that PEFT gives the files, the others to a file .safetensors. The scale is in B, all
// pairs have the largest rank, and alpha is that rank.
func (a Adapter) Save(path string, spelling Spelling) error {
	if err := a.save(path, spelling); err != nil {
		return fmt.Errorf("save adapter %s: %w", path, err)
	}
	return nil
}

func (a Adapter) save(path string, spelling Spelling) error {
	if len(a.UNet)+len(a.Text) == 0 {
		return errors.New("it has no pairs, expected at least one")
	}
	if (spelling == Diffusers || spelling == Kohya) && !strings.HasSuffix(path, ".safetensors") {
		return fmt.Errorf("%w: in spelling %s it is one file, and others know its format by the name: want one that ends in .safetensors", ErrUnsupported, spelling)
	}
	rank := slices.Max(a.Ranks())
	f := checkpoint.File{Tensors: map[string]checkpoint.Tensor{}, Metadata: map[string]string{"format": "pt"}}
	switch spelling {
	case PEFT:
		if len(a.Text) > 0 {
			return fmt.Errorf("%w: it has %d pairs of the text encoder, and PEFT has one model a folder: write it as diffusers or kohya", ErrUnsupported, len(a.Text))
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		config, err := json.MarshalIndent(settings(a.UNet, rank, ""), "", "  ")
		if err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(path, "adapter_config.json"), append(config, '\n')); err != nil {
			return err
		}
		path = filepath.Join(path, "adapter_model.safetensors")
		add(f, rank, a.UNet, func(m string) string { return "base_model.model." + m }, ".lora_A.weight", ".lora_B.weight")
	case Diffusers:
		all := map[string]any{}
		maps.Copy(all, settings(a.UNet, rank, "unet."))
		maps.Copy(all, settings(a.Text, rank, "text_encoder."))
		b, err := json.MarshalIndent(all, "", "  ")
		if err != nil {
			return err
		}
		f.Metadata[metadataKey] = string(b)
		add(f, rank, a.UNet, func(m string) string { return "unet." + m }, ".lora_A.weight", ".lora_B.weight")
		add(f, rank, a.Text, func(m string) string { return "text_encoder.text_model." + m }, ".lora_A.weight", ".lora_B.weight")
	case Kohya:
		f.Metadata["ss_network_module"] = "networks.lora"
		f.Metadata["ss_network_dim"], f.Metadata["ss_network_alpha"] = strconv.Itoa(rank), strconv.Itoa(rank)
		for prefix, part := range map[string]map[string]Pair{"lora_unet_": a.UNet, "lora_te_text_model_": a.Text} {
			name := func(m string) string { return prefix + strings.ReplaceAll(m, ".", "_") }
			add(f, rank, part, name, ".lora_down.weight", ".lora_up.weight")
			for module := range part {
				f.Tensors[name(module)+".alpha"] = checkpoint.Tensor{Shape: []int{}, F32: []float32{float32(rank)}}
			}
		}
	default:
		return fmt.Errorf("%w: spelling %q is not written, expected %s, %s or %s", ErrUnsupported, spelling, PEFT, Diffusers, Kohya)
	}
	return checkpoint.Save(path, f)
}

func add(f checkpoint.File, rank int, pairs map[string]Pair, name func(module string) string, down, up string) {
	for module, p := range pairs {
		p = p.plain(rank)
		var kernel []int
		if p.Convolution {
			kernel = []int{1, 1}
		}
		f.Tensors[name(module)+down] = checkpoint.Tensor{Shape: append([]int{p.Rank, p.In}, kernel...), F32: p.A}
		f.Tensors[name(module)+up] = checkpoint.Tensor{Shape: append([]int{p.Out, p.Rank}, kernel...), F32: p.B}
	}
}

// settings are those that PEFT has of an adapter whose alpha is its rank.
func settings(pairs map[string]Pair, rank int, prefix string) map[string]any {
	if len(pairs) == 0 {
		return nil
	}
	return map[string]any{prefix + "peft_type": "LORA", prefix + "r": rank, prefix + "lora_alpha": rank, prefix + "target_modules": slices.Sorted(maps.Keys(pairs)),
		prefix + "bias": "none", prefix + "lora_dropout": 0, prefix + "use_dora": false, prefix + "use_rslora": false}
}
