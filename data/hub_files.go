package data

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Want says which files of a repository are wanted. The zero value is those that this program reads: of a model in the layout of diffusers its parts,
// of another repository what lies in its first folder, each the configuration and the weights as safetensors, and ImageReward.pt.
type Want struct {
	Variant string   // of the weights where there are some, such as fp16; else those of no variant, else those of fp16
	Files   []string // patterns of names, such as vocab.txt or unet/*.json, in place of all that
}

// hubParts are the folders of a model in the layout of diffusers, and what their weights are called.
var hubParts = []struct{ dir, stem string }{
	{"unet", "diffusion_pytorch_model"}, {"vae", "diffusion_pytorch_model"}, {"text_encoder", "model"}, {"tokenizer", ""}, {"scheduler", ""},
}

func (w Want) choose(all []hubFile) (chosen []hubFile, err error) {
	names := map[string]hubFile{}
	for _, f := range all {
		names[f.Name] = f
	}
	wanted := map[string]bool{}
	_, diffusers := names["model_index.json"]
	switch {
	case len(w.Files) > 0:
		for _, pattern := range w.Files {
			before := len(wanted)
			for name := range names {
				if ok, err := path.Match(pattern, name); err != nil {
					return nil, fmt.Errorf("pattern %q: %w", pattern, err)
				} else if ok {
					wanted[name] = true
				}
			}
			if len(wanted) == before {
				return nil, fmt.Errorf("%w: the repository has no file %q", ErrHub, pattern)
			}
		}
	case diffusers:
		wanted["model_index.json"] = true
		for _, p := range hubParts {
			settings(names, wanted, p.dir)
			if p.stem != "" && !w.weights(names, wanted, p.dir, p.stem) {
				return nil, noWeights(names, p.dir)
			}
		}
	default:
		settings(names, wanted, ".")
		if !w.weights(names, wanted, ".", "model") && !w.others(names, wanted) && unreadable(names, ".") != "" {
			return nil, noWeights(names, ".")
		}
	}
	for _, f := range all {
		if wanted[f.Name] {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%w: none of its %d files is one that this program reads; --file names others", ErrHub, len(all))
	}
	slices.SortFunc(chosen, func(a, b hubFile) int { return strings.Compare(a.Name, b.Name) })
	return chosen, nil
}

// settings wants the texts of a folder: configurations and vocabularies.
func settings(names map[string]hubFile, wanted map[string]bool, dir string) {
	for name := range names {
		if ext := path.Ext(name); path.Dir(name) == dir && (ext == ".json" || ext == ".txt") && !strings.Contains(name, ".safetensors.index") && !strings.HasSuffix(name, ".bin.index.json") {
			wanted[name] = true
		}
	}
}

// weights wants the weights of a folder, in one file or several, and reports whether there are any.
func (w Want) weights(names map[string]hubFile, wanted map[string]bool, dir, stem string) bool {
	for _, variant := range slices.Compact([]string{w.Variant, "", "fp16"}) {
		begin, index := stem, stem+".safetensors.index.json"
		if variant != "" {
			begin, index = stem+"."+variant, stem+".safetensors.index."+variant+".json"
		}
		if whole := path.Join(dir, begin+".safetensors"); names[whole].Name != "" {
			wanted[whole] = true
			return true
		}
		if index = path.Join(dir, index); names[index].Name != "" {
			wanted[index] = true
			shard := regexp.MustCompile(`^` + regexp.QuoteMeta(path.Join(dir, begin)) + `-[0-9]+-of-[0-9]+\.safetensors$`)
			for name := range names {
				if shard.MatchString(name) {
					wanted[name] = true
				}
			}
			return true
		}
	}
	return false
}

// others wants weights by names of their own: an ImageReward, or adapters.
func (w Want) others(names map[string]hubFile, wanted map[string]bool) (found bool) {
	for name := range names {
		if path.Dir(name) == "." && path.Ext(name) == ".safetensors" {
			wanted[name], found = true, true
		}
	}
	const pickled = "ImageReward.pt"
	if !found && names[pickled].Name != "" {
		wanted[pickled], found = true, true
	}
	return found
}

// unreadable returns a file of weights in a format that is not read, or "".
func unreadable(names map[string]hubFile, dir string) string {
	first := ""
	for name := range names {
		if path.Dir(name) == dir && slices.Contains([]string{".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx"}, path.Ext(name)) && (first == "" || name < first) {
			first = name
		}
	}
	return first
}

func noWeights(names map[string]hubFile, dir string) error {
	has := "no weights"
	if name := unreadable(names, dir); name != "" {
		has = "weights as " + name + " only"
	}
	return fmt.Errorf("%w: it has %s in folder %s, wanted are safetensors. Another revision may have them (its pull requests are revisions refs/pr/N), or --file fetches what there is, to be converted", ErrHub, has, dir)
}
