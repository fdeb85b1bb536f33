package sd

import (
	"fmt"
	"path/filepath"
)

// alone says what a folder has that is no whole model that draws, and where such a thing is for; "" if that is not known.
func alone(dir string) string {
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors", "pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin"} {
		if hasFile(dir, name) {
			return "a low-rank adapter, which is added to a model"
		}
	}
	if hasFile(dir, "ImageReward.safetensors") || hasFile(dir, "ImageReward.pt") {
		return "an ImageReward, which scores pictures and draws none"
	}
	s, err := readSettings(filepath.Join(dir, "config.json"))
	if err != nil {
		return ""
	}
	if class := get(s, "_class_name", ""); class != "" {
		return fmt.Sprintf("a part of a model alone (%s): the folder above it, which has model_index.json, may be one", class)
	}
	switch kind := get(s, "model_type", ""); kind {
	case "":
		return ""
	case "clip":
		return "a CLIP, which compares pictures with texts and draws none"
	default:
		return fmt.Sprintf("a model of transformers alone, of type %s", kind)
	}
}

// instead adds to the error of a folder that lacks something what the folder has.
func instead(err error, dir string) error {
	if what := alone(dir); what != "" {
		return fmt.Errorf("%w; it is %s", err, what)
	}
	return err
}
