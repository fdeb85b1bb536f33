package nn

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

// TrainingState returns the paths of all that training the parameters below a path changes: themselves, their moments and their averages.
func TrainingState(path string) []string { return []string{path, "/optimizer" + path, Averaged(path)} }

// State returns all variables of an engine below the given paths, under their full names without the leading slash.
func State(e *engine.Engine, paths ...string) (map[string]checkpoint.Tensor, error) {
	out := map[string]checkpoint.Tensor{}
	for v := range e.Params.IterVariables() {
		if !isBelow(v.Path(), paths) {
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

// Restore sets the variables that exist from tensors of the same name. Below the given paths there must be a tensor for every variable, and
// a variable for every tensor. If not, or if a shape differs, nothing is set.
func Restore(e *engine.Engine, values map[string]checkpoint.Tensor, paths ...string) error {
	var set []*model.Variable
	known := map[string]bool{}
	for v := range e.Params.IterVariables() {
		name := strings.TrimPrefix(v.Path(), "/")
		t, ok := values[name]
		switch {
		case !ok && isBelow(v.Path(), paths):
			return fmt.Errorf("there is no %s: this is another architecture", name)
		case !ok:
			continue
		case !slices.Equal(t.Shape, v.Shape().Dimensions):
			return fmt.Errorf("%s has shape %v, this configuration wants %v: this is another architecture", name, t.Shape, v.Shape().Dimensions)
		case len(t.F32) != v.Shape().Size() || v.DType() != dtypes.Float32:
			return fmt.Errorf("%s is not of float32", name)
		}
		if i := t.NotFinite(); i >= 0 {
			return fmt.Errorf("number %d of %s is infinite or NaN: the file is damaged, or the training that it is of had diverged", i+1, name)
		}
		set, known[name] = append(set, v), true
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if isBelow("/"+name, paths) && !known[name] {
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

// Load sets the variables below a path, which must exist, from a checkpoint that has them all. Others that it holds are left alone.
func Load(file string, e *engine.Engine, path string) error {
	f, err := checkpoint.Load(file)
	if err != nil {
		return err
	}
	maps.DeleteFunc(f.Tensors, func(name string, _ checkpoint.Tensor) bool { return !isBelow("/"+name, []string{path}) })
	if err := Restore(e, f.Tensors, path); err != nil {
		return fmt.Errorf("checkpoint %s: %w", file, err)
	}
	return nil
}

func isBelow(name string, paths []string) bool {
	return slices.ContainsFunc(paths, func(path string) bool { return strings.HasPrefix(name, path+"/") })
}
