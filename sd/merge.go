package sd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/lora"
)

// Merge copies the model to a new folder with adapters merged into its weights, W + Σ scale·B·A, computed in float64 and rounded once to the precision
// of each file. All safetensors of a part that an adapter changes are written anew, whatever their variant; all else is copied as it is, but weights
// of such a part in formats that are not read: they are left out, and their paths in the model returned.
// It stops with the context's error between tensors. On an error the new folder goes.
func (f *Folder) Merge(ctx context.Context, to string, adapters ...lora.Adapter) (left []string, err error) {
	if inside(f.Dir, to) {
		return nil, fmt.Errorf("merge: %s is in the model's own folder, want one outside of it", to)
	}
	if err := os.Mkdir(to, 0o777); err != nil { // never into a folder that has something
		return nil, fmt.Errorf("merge: want a new folder: %w", err)
	}
	unet, text := map[string][]lora.Pair{}, map[string][]lora.Pair{}
	for _, a := range adapters {
		for module, p := range a.UNet {
			unet[module+".weight"] = append(unet[module+".weight"], p)
		}
		for module, p := range a.Text {
			text[module+".weight"] = append(text[module+".weight"], p)
		}
	}
	parts := map[string]merger{
		"unet":         {unet, f.UNet.Tensors(), func(name string) string { return name }, ctx.Err},
		"text_encoder": {text, f.Text.Tensors(), textName, ctx.Err},
	}
	err = filepath.WalkDir(f.Dir, func(path string, d fs.DirEntry, err error) error {
		if err := cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		local, err := filepath.Rel(f.Dir, path)
		if err != nil || local == "." {
			return err
		}
		target := filepath.Join(to, local)
		info, err := os.Stat(path) // of what a link leads to: in Python's cache all files are links
		switch {
		case err != nil:
			return err
		case info.IsDir() && !d.IsDir():
			return fmt.Errorf("%s is a link to a folder, expected files and folders", path)
		case info.IsDir():
			return os.Mkdir(target, 0o777)
		}
		m := parts[filepath.Dir(local)]
		if len(m.pairs) == 0 {
			return copyFile(path, target)
		}
		if filepath.Ext(path) == ".safetensors" {
			return m.merge(path, target)
		}
		if slices.ContainsFunc(unread, func(ending string) bool { return strings.HasSuffix(path, ending) }) {
			left = append(left, local)
			return nil
		}
		return copyFile(path, target)
	})
	if err != nil {
		return nil, fmt.Errorf("merge into %s: %w", to, errors.Join(err, os.RemoveAll(to)))
	}
	return left, nil
}

// inside reports whether a path is a folder, or in it.
func inside(folder, path string) bool {
	a, errA := filepath.Abs(folder)
	b, errB := filepath.Abs(path)
	local, err := filepath.Rel(a, b)
	return errA == nil && errB == nil && err == nil && filepath.IsLocal(local)
}

// merger changes the weights of a part.
type merger struct {
	pairs   map[string][]lora.Pair // by the names of tensors today
	shapes  map[string][]int       // of all tensors, by these names
	current func(name string) string
	stop    func() error // returns an error if work shall end
}

func (m merger) merge(from, to string) (err error) {
	r, err := checkpoint.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return checkpoint.Rewrite(to, r, r.Metadata(), func(name string, t checkpoint.Tensor) (checkpoint.Tensor, error) {
		if err := m.stop(); err != nil {
			return t, err
		}
		pairs := m.pairs[m.current(name)]
		if len(pairs) == 0 {
			return t, nil
		}
		if want := m.shapes[m.current(name)]; !slices.Equal(t.Shape, want) {
			return t, fmt.Errorf("%w: it has shape %v, expected %v", ErrWeights, t.Shape, want)
		}
		return merged(t, pairs)
	})
}

// merged returns W + Σ scale·B·A in the precision of W.
func merged(t checkpoint.Tensor, pairs []lora.Pair) (checkpoint.Tensor, error) {
	w, err := t.Float32s()
	if err != nil {
		return t, err
	}
	sum := make([]float64, len(w))
	for i, v := range w {
		sum[i] = float64(v)
	}
	for _, p := range pairs {
		for o := range p.Out {
			row := sum[o*p.In : (o+1)*p.In]
			for r := range p.Rank {
				b := p.Scale * float64(p.B[o*p.Rank+r])
				for i, a := range p.A[r*p.In : (r+1)*p.In] {
					row[i] += b * float64(a)
				}
			}
		}
	}
	out := checkpoint.Tensor{Shape: t.Shape}
	switch t.DType() {
	case checkpoint.F16:
		out.F16 = make([]checkpoint.Float16, len(sum))
		for i, v := range sum {
			out.F16[i] = checkpoint.ToFloat16(float32(v))
		}
	case checkpoint.BF16:
		out.BF16 = make([]checkpoint.BFloat16, len(sum))
		for i, v := range sum {
			out.BF16[i] = checkpoint.ToBFloat16(float32(v))
		}
	case checkpoint.F32:
		out.F32 = make([]float32, len(sum))
		for i, v := range sum {
			out.F32[i] = float32(v)
		}
	default:
		return t, fmt.Errorf("%w: it is %s, expected F32, F16 or BF16", ErrWeights, t.DType())
	}
	if i := notFinite(out); i >= 0 {
		return t, fmt.Errorf("%w: number %d becomes %g, which %s cannot hold, or was not finite before", ErrWeights, i+1, sum[i], t.DType())
	}
	return out, nil
}

// copyFile copies a file, whole or not at all.
func copyFile(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return atomicfile.WriteFunc(to, func(w io.Writer) error {
		_, err := io.Copy(w, f)
		return err
	})
}
