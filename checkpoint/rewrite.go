package checkpoint

import (
	"fmt"
	"slices"
)

// Rewrite writes all tensors of a source to path, each after change, which keeps dtype and shape; nil changes nothing. One tensor is in memory at a
// time, and the file appears whole or not at all, as by [Save].
func Rewrite(path string, from Source, metadata map[string]string, change func(name string, t Tensor) (Tensor, error)) error {
	entries := []entry{}
	for _, name := range from.Names() {
		info, _ := from.Info(name)
		n, ok := elements(info.Shape)
		if !ok || info.DType.size() == 0 {
			return fmt.Errorf("save checkpoint %s: tensor %q: %w: got %s%v", path, name, ErrDType, info.DType, info.Shape)
		}
		entries = append(entries, entry{name: name, dtype: info.DType, shape: info.Shape, end: n * info.DType.size()})
	}
	entries, err := placeEntries(entries)
	if err == nil {
		err = write(path, entries, metadata, func(name string) (Tensor, error) {
			t, err := from.Tensor(name)
			if err == nil && change != nil {
				t, err = change(name, t)
			}
			if err != nil {
				return Tensor{}, err
			}
			want, _ := from.Info(name)
			if d, _, err := t.layout(); err != nil || d != want.DType || !slices.Equal(t.Shape, want.Shape) {
				return Tensor{}, fmt.Errorf("got %s%v, expected %s%v", d, t.Shape, want.DType, want.Shape)
			}
			return t, nil
		})
	}
	if err != nil {
		return fmt.Errorf("save checkpoint %s: %w", path, err)
	}
	return nil
}
