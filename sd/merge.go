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
