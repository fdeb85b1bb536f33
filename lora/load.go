package lora

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/checkpoint/statedict"
)

// files are the names that adapters go by in a folder.
var files = []string{"adapter_model.safetensors", "pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin"}

// Load reads an adapter of a model: a file .safetensors or .bin, or a folder that has one by the name that PEFT or diffusers gives it.
func Load(path string, model Model) (Adapter, Spelling, error) {
	a, s, err := load(path, model)
	if err != nil {
		return Adapter{}, "", fmt.Errorf("adapter %s: %w", path, err)
	}
	return a, s, nil
}

func load(path string, model Model) (Adapter, Spelling, error) {
	if info, err := os.Stat(path); err != nil {
		return Adapter{}, "", err
	} else if info.IsDir() {
		dir := path
		for _, name := range files {
			if path = filepath.Join(dir, name); exists(path) {
				break
			}
		}
		if !exists(path) {
			return Adapter{}, "", fmt.Errorf("%w: found none of %s", fs.ErrNotExist, strings.Join(files, ", "))
		}
	}
	source, metadata, err := open(path)
	if err != nil {
		return Adapter{}, "", err
	}
	defer source.Close()
	tensors := map[string]checkpoint.Tensor{}
	for _, name := range source.Names() {
		if tensors[name], err = source.Tensor(name); err != nil {
			return Adapter{}, "", err
		}
	}
	return assemble(tensors, metadata, model, func() (scales, error) { return configBeside(path) })
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func open(path string) (checkpoint.Source, map[string]string, error) {
	if ext := filepath.Ext(path); ext == ".bin" || ext == ".pt" {
		f, err := statedict.Open(path)
		return f, nil, err
	}
	r, err := checkpoint.Open(path)
	if err != nil {
		return nil, nil, err
	}
	return r, r.Metadata(), nil
}

// halves is what a file has of a module.
type halves struct {
	tensors [3]checkpoint.Tensor // by role
	there   [3]bool
}

// assemble makes an adapter of the tensors of a file. Beside reads the settings of PEFT.
func assemble(tensors map[string]checkpoint.Tensor, metadata map[string]string, model Model, beside func() (scales, error)) (Adapter, Spelling, error) {
	if len(tensors) == 0 {
		return Adapter{}, "", fmt.Errorf("%w: it has no tensors", ErrCorrupt)
	}
	names, spelling := newModules(model), Spelling("")
	found := map[bool]map[string]*halves{false: {}, true: {}}
	for _, name := range slices.Sorted(maps.Keys(tensors)) { // so that of several faults the same one is told
		t := tensors[name]
		k, err := names.parse(name)
		if err != nil {
			return Adapter{}, "", err
		}
		if spelling != "" && k.spelling != spelling {
			return Adapter{}, "", fmt.Errorf("%w: it mixes the spellings of %s and %s", ErrUnsupported, min(spelling, k.spelling), max(spelling, k.spelling))
		}
		spelling = k.spelling
		h := found[k.text][k.module]
		if h == nil {
			h = &halves{}
			found[k.text][k.module] = h
		}
		if h.there[k.role] {
			return Adapter{}, "", fmt.Errorf("%w: two tensors are the same half of %s; one is %q", ErrCorrupt, k.module, name)
		}
		h.tensors[k.role], h.there[k.role] = t, true
	}
	a := Adapter{UNet: map[string]Pair{}, Text: map[string]Pair{}}
	for _, part := range []struct {
		text   bool
		prefix string
		shapes map[string][]int
		pairs  map[string]Pair
	}{{false, "unet.", model.UNet, a.UNet}, {true, "text_encoder.", model.Text, a.Text}} {
		var s scales
		var err error
		switch spelling {
		case PEFT:
			s, err = beside()
		case Diffusers:
			s, err = inMetadata(metadata, part.prefix)
		}
		if err != nil {
			return Adapter{}, "", err
		}
		for _, module := range slices.Sorted(maps.Keys(found[part.text])) {
			p, err := found[part.text][module].pair(module, s)
			if err == nil {
				shape, ok := part.shapes[module+".weight"]
				if !ok {
					return Adapter{}, "", fmt.Errorf("%w: the model has no module %s%s", ErrModel, part.prefix, module)
				}
				err = p.check(shape)
			}
			if err != nil {
				return Adapter{}, "", fmt.Errorf("%s%s: %w", part.prefix, module, err)
			}
			part.pairs[module] = p
		}
	}
	return a, spelling, nil
}

// pair makes a pair of two halves, and of alpha if there is one.
func (h *halves) pair(module string, s scales) (Pair, error) {
	if !h.there[down] || !h.there[up] {
		return Pair{}, fmt.Errorf("%w: it has only one of the two halves A, or down, and B, or up", ErrCorrupt)
	}
	a, b := h.tensors[down], h.tensors[up]
	for _, t := range []checkpoint.Tensor{a, b} {
		if len(t.Shape) != 2 && len(t.Shape) != 4 {
			return Pair{}, fmt.Errorf("%w: a half has shape %v, expected two dimensions, or four of a convolution", ErrCorrupt, t.Shape)
		}
		if len(t.Shape) == 4 && (t.Shape[2] != 1 || t.Shape[3] != 1) {
			return Pair{}, fmt.Errorf("%w: a half has shape %v, supported are convolutions of kernel 1×1", ErrUnsupported, t.Shape)
		}
	}
	p := Pair{Rank: a.Shape[0], In: a.Shape[1], Out: b.Shape[0], Convolution: len(a.Shape) == 4}
	if p.Rank < 1 || b.Shape[1] != p.Rank || len(a.Shape) != len(b.Shape) {
		return Pair{}, fmt.Errorf("%w: halves have shapes %v and %v, expected [rank, in] and [out, rank]", ErrCorrupt, a.Shape, b.Shape)
	}
	var err error
	if p.A, err = finite(a); err != nil {
		return Pair{}, err
	}
	if p.B, err = finite(b); err != nil {
		return Pair{}, err
	}
	if p.Scale, err = s.of(module, p.Rank); err != nil {
		return Pair{}, err
	}
	if h.there[alpha] {
		v, err := finite(h.tensors[alpha])
		if err != nil || len(v) != 1 {
			return Pair{}, errors.Join(fmt.Errorf("%w: alpha has shape %v, expected one number", ErrCorrupt, h.tensors[alpha].Shape), err)
		}
		p.Scale = float64(v[0]) / float64(p.Rank)
	}
	if p.Scale-p.Scale != 0 {
		return Pair{}, fmt.Errorf("%w: its scale is %g", ErrCorrupt, p.Scale)
	}
	return p, nil
}

func finite(t checkpoint.Tensor) ([]float32, error) {
	v, err := t.Float32s()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for i, x := range v {
		if x-x != 0 {
			return nil, fmt.Errorf("%w: number %d of a half is infinite or NaN", ErrCorrupt, i+1)
		}
	}
	return v, nil
}
