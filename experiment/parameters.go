package experiment

import (
	"fmt"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
)

// saveParameters writes all variables below the given paths, under their full names.
func saveParameters(file string, e *engine.Engine, metadata map[string]string, paths ...string) error {
	f := checkpoint.File{Tensors: map[string]checkpoint.Tensor{}, Metadata: metadata}
	for v := range e.Params.IterVariables() {
		for _, path := range paths {
			if !strings.HasPrefix(v.Path(), path+"/") {
				continue
			}
			value, err := v.Value()
			if err != nil {
				return fmt.Errorf("save %s: %w", v.Path(), err)
			}
			flat, err := tensors.CopyFlatData[float32](value)
			if err != nil {
				return fmt.Errorf("save %s: %w", v.Path(), err)
			}
			f.Tensors[strings.TrimPrefix(v.Path(), "/")] = checkpoint.Tensor{Shape: v.Shape().Dimensions, F32: flat}
		}
	}
	return checkpoint.Save(file, f)
}

// loadParameters sets the variables below path, which must exist, from a checkpoint that has them all.
func loadParameters(file string, e *engine.Engine, path string) error {
	f, err := checkpoint.Load(file)
	if err != nil {
		return err
	}
	for v := range e.Params.IterVariables() {
		if !strings.HasPrefix(v.Path(), path+"/") {
			continue
		}
		name := strings.TrimPrefix(v.Path(), "/")
		t, ok := f.Tensors[name]
		if !ok {
			return fmt.Errorf("checkpoint %s has no %s: it holds another architecture", file, name)
		}
		if fmt.Sprint(t.Shape) != fmt.Sprint(v.Shape().Dimensions) {
			return fmt.Errorf("checkpoint %s: %s has shape %v, this configuration wants %v", file, name, t.Shape, v.Shape().Dimensions)
		}
		if err := v.SetValue(tensors.FromFlatDataAndDimensions(t.F32, t.Shape...)); err != nil {
			return fmt.Errorf("checkpoint %s: %s: %w", file, name, err)
		}
	}
	return nil
}
