package sd

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
)

// Weights are the tensors of a network in its files, by the names of [UNet.Tensors] and its like, whatever names the files have. Tensors may be read
// at the same time.
type Weights struct {
	// Precision is how [Weights.Load] holds linear maps, convolutions and tables; the zero value is as they are in the file.
	Precision engine.Precision

	source checkpoint.Source
	files  map[string]string // name in the files
	shapes map[string][]int
}

// newWeights compares what files have with the tensors of a configuration. Current gives the name of today for one in the files.
func newWeights(r checkpoint.Source, want map[string][]int, current func(string) string) (*Weights, error) {
	w := &Weights{source: r, files: map[string]string{}, shapes: want}
	var wrong, unknown, missing []string
	for _, file := range r.Names() {
		if strings.HasSuffix(file, ".position_ids") { // 0, 1, 2 …
			continue
		}
		name := current(file)
		shape, ok := want[name]
		if !ok {
			unknown = append(unknown, file)
			continue
		}
		if twin, ok := w.files[name]; ok {
			wrong = append(wrong, fmt.Sprintf("%s is there as %s too", file, twin))
		}
		w.files[name] = file
		if info, _ := r.Info(file); !slices.Equal(info.Shape, shape) {
			wrong = append(wrong, fmt.Sprintf("%s has shape %v, expected %v", file, info.Shape, shape))
		} else if info.DType == checkpoint.I64 {
			wrong = append(wrong, fmt.Sprintf("%s is %s, expected F32, F16 or BF16", file, info.DType))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if _, ok := w.files[name]; !ok {
			missing = append(missing, name)
		}
	}
	var errs []error
	for what, names := range map[string][]string{"missing": missing, "not known by the configuration": unknown, "": wrong} {
		if len(names) > 0 {
			errs = append(errs, fmt.Errorf("%w: %s", ErrWeights, few(names, what)))
		}
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	return w, nil
}

// few says what holds of names, and writes out the first few.
func few(names []string, what string) string {
	const most = 5
	text := strings.Join(names[:min(most, len(names))], ", ")
	if what != "" {
		text = fmt.Sprintf("%s: %s", what, text)
	}
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// Names returns the names of all tensors, sorted.
func (w *Weights) Names() []string { return slices.Sorted(maps.Keys(w.shapes)) }

// Shape returns the shape of a tensor, in PyTorch's layout; nil if there is none of that name.
func (w *Weights) Shape(name string) []int { return slices.Clone(w.shapes[name]) }

// Parameters returns how many numbers there are in all, by their precision in the files.
func (w *Weights) Parameters() map[checkpoint.DType]int {
	n := map[checkpoint.DType]int{}
	for _, file := range w.files {
		info, _ := w.source.Info(file)
		size := 1
		for _, s := range info.Shape {
			size *= s
		}
		n[info.DType] += size
	}
	return n
}

// Tensor reads a tensor, in the precision of the file. One that is not finite throughout gives ErrWeights.
func (w *Weights) Tensor(name string) (checkpoint.Tensor, error) {
	file, ok := w.files[name]
	if !ok {
		return checkpoint.Tensor{}, fmt.Errorf("sd: got no tensor %q, expected one of %d", name, len(w.files))
	}
	t, err := w.source.Tensor(file)
	if err != nil {
		return checkpoint.Tensor{}, err
	}
	if i := t.NotFinite(); i >= 0 {
		return checkpoint.Tensor{}, fmt.Errorf("%w: %s: number %d of tensor %s is infinite or NaN", ErrWeights, w.source.Path(), i+1, file)
	}
	return t, nil
}

// Close closes the files. Tensors that were read stay.
func (w *Weights) Close() error { return w.source.Close() }
