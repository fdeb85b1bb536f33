package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/doob-diffusion/doob/internal/textfile"
)

// modelFiles are the names that a model's weights go by, in the order in which they are looked for: those of the
// libraries transformers and diffusers.
var modelFiles = []string{
	"model.safetensors", "diffusion_pytorch_model.safetensors",
	"model.safetensors.index.json", "diffusion_pytorch_model.safetensors.index.json",
	"model.fp16.safetensors", "diffusion_pytorch_model.fp16.safetensors",
	"model.safetensors.index.fp16.json", "diffusion_pytorch_model.safetensors.index.fp16.json",
}

// OpenModel opens the weights of a model: a safetensors file, a model in several files by its index (a name that ends in
// .json), or a folder with either under one of the usual names, of which plain ones come before those with fp16 and
// whole files before indices. A folder without any gives [fs.ErrNotExist].
//
// An index maps every tensor to the file beside it that holds it: {"weight_map": {"name": "file", …}}. Other keys are
// not used, metadata.total_size neither: the files' own headers tell sizes. The index and the files must name the same
// tensors, each once; otherwise the error is ErrCorrupt.
func OpenModel(path string) (*Reader, error) {
	path, err := modelFile(path)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	if filepath.Ext(path) != ".json" {
		return Open(path)
	}
	r, err := openIndex(path)
	if err != nil {
		return nil, fmt.Errorf("open model %s: %w", path, err)
	}
	return r, nil
}

// modelFile returns path, or the file to open in it if it is a folder.
func modelFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return path, err
	}
	for _, name := range modelFiles {
		file := filepath.Join(path, name)
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
	}
	return "", fmt.Errorf("%w: looked in %s, found none of %s", fs.ErrNotExist, path, strings.Join(modelFiles, ", "))
}

func openIndex(path string) (*Reader, error) {
	b, err := textfile.Read(path)
	if err != nil {
		return nil, err
	}
	weights, err := parseIndex(b)
	if err != nil {
		return nil, err
	}
	r := newReader(path)
	if err := r.openShards(weights); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// openShards opens the files that weights, a map from tensors to files, names, and compares what they hold with it.
func (r *Reader) openShards(weights map[string]string) error {
	for i, file := range slices.Compact(slices.Sorted(maps.Values(weights))) {
		local, err := filepath.Localize(file)
		if err != nil {
			return corrupt("got file %q, expected the name of one in the folder of the index", file)
		}
		if err := r.open(filepath.Join(filepath.Dir(r.path), local)); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		s := r.shards[i]
		for _, e := range s.entries {
			switch listed, ok := weights[e.name]; {
			case !ok:
				return corrupt("%s holds tensor %q, which is not in the index", file, e.name)
			case listed != file:
				return corrupt("%s holds tensor %q, which is in %s by the index", file, e.name, listed)
			}
			r.at[e.name] = place{i, e}
		}
		if i == 0 {
			r.metadata = maps.Clone(s.metadata)
		}
		maps.DeleteFunc(r.metadata, func(k, v string) bool { got, ok := s.metadata[k]; return !ok || got != v })
	}
	for _, name := range slices.Sorted(maps.Keys(weights)) {
		if _, ok := r.at[name]; !ok {
			return corrupt("%s holds no tensor %q, which is there by the index", weights[name], name)
		}
	}
	return nil
}

// parseIndex returns the weight_map of an index.
func parseIndex(b []byte) (weights map[string]string, err error) {
	if !utf8.Valid(b) {
		return nil, corrupt("index is not valid UTF-8")
	}
	p := parser{json.NewDecoder(bytes.NewReader(b))}
	err = p.object(func(key string) error {
		if key != "weight_map" {
			return p.Decode(new(json.RawMessage))
		}
		weights = map[string]string{}
		return p.object(func(name string) (err error) {
			weights[name], err = p.text()
			return err
		})
	})
	if err == nil && weights == nil {
		err = errors.New("got no weight_map, expected one of names to files")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: index, near byte %d: %w", ErrCorrupt, p.InputOffset(), err)
	}
	if rest := bytes.TrimSpace(b[p.InputOffset():]); len(rest) > 0 {
		return nil, corrupt("index has %q after its JSON", rest[:min(20, len(rest))])
	}
	return weights, nil
}
