package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
)

// variables returns all variables below the given paths, under their full names without the leading slash.
func variables(e *engine.Engine, paths ...string) (map[string]checkpoint.Tensor, error) {
	out := map[string]checkpoint.Tensor{}
	for v := range e.Params.IterVariables() {
		if !below(v.Path(), paths) {
			continue
		}
		value, err := v.Value()
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Path(), err)
		}
		flat, err := tensors.CopyFlatData[float32](value)
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Path(), err)
		}
		out[strings.TrimPrefix(v.Path(), "/")] = checkpoint.Tensor{Shape: v.Shape().Dimensions, F32: flat}
	}
	return out, nil
}

// restore sets the variables that exist from tensors of the same name. Below the given paths there must be a tensor for
// every variable, and a variable for every tensor. If not, or if a shape differs, nothing is set.
func restore(e *engine.Engine, values map[string]checkpoint.Tensor, paths ...string) error {
	var set []*model.Variable
	known := map[string]bool{}
	for v := range e.Params.IterVariables() {
		name := strings.TrimPrefix(v.Path(), "/")
		t, ok := values[name]
		switch {
		case !ok && below(v.Path(), paths):
			return fmt.Errorf("there is no %s: this is another architecture", name)
		case !ok:
			continue
		case !slices.Equal(t.Shape, v.Shape().Dimensions):
			return fmt.Errorf("%s has shape %v, this configuration wants %v: this is another architecture", name, t.Shape, v.Shape().Dimensions)
		case len(t.F32) != v.Shape().Size() || v.DType() != dtypes.Float32:
			return fmt.Errorf("%s is not of float32", name)
		}
		set, known[name] = append(set, v), true
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if below("/"+name, paths) && !known[name] {
			return fmt.Errorf("%s is unknown to this configuration: this is another architecture", name)
		}
	}
	for _, v := range set {
		t := values[strings.TrimPrefix(v.Path(), "/")]
		if err := v.SetValue(tensors.FromFlatDataAndDimensions(t.F32, t.Shape...)); err != nil {
			return fmt.Errorf("%s: %w", v.Path(), err)
		}
	}
	return nil
}

func below(name string, paths []string) bool {
	return slices.ContainsFunc(paths, func(path string) bool { return strings.HasPrefix(name, path+"/") })
}

// saveParameters writes all variables below the given paths, under their full names.
func saveParameters(file string, e *engine.Engine, metadata map[string]string, paths ...string) error {
	values, err := variables(e, paths...)
	if err != nil {
		return fmt.Errorf("save %s: %w", file, err)
	}
	return checkpoint.Save(file, checkpoint.File{Tensors: values, Metadata: metadata})
}

// loadParameters sets the variables below path, which must exist, from a checkpoint that has them all.
func loadParameters(file string, e *engine.Engine, path string) error {
	f, err := checkpoint.Load(file)
	if err != nil {
		return err
	}
	// A checkpoint may hold more than is wanted here: of the others, nothing is set.
	maps.DeleteFunc(f.Tensors, func(name string, _ checkpoint.Tensor) bool { return !below("/"+name, []string{path}) })
	if err := restore(e, f.Tensors, path); err != nil {
		return fmt.Errorf("checkpoint %s: %w", file, err)
	}
	return nil
}
