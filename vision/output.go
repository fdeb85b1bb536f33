package vision

import (
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrOutput says that a picture cannot be written where it shall be.
var ErrOutput = errors.New("output")

// quality is that of JPEG files, in percent.
const quality = 95

// IsJPEG reports whether a picture of that name is written as JPEG, and not as PNG; other names are errors.
func IsJPEG(path string) (bool, error) {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".png":
		return false, nil
	case ".jpg", ".jpeg":
		return true, nil
	}
	return false, fmt.Errorf("%w %q: pictures are written as PNG or JPEG, want a name that ends in .png, .jpg or .jpeg", ErrOutput, path)
}

// CheckOutputs refuses, before any work, pictures that could not be written after it: another format, a folder that is not there or cannot be written, one name
// for two of them, or that of an input, which would be lost.
func CheckOutputs(inputs []string, outputs ...string) error {
	for i, out := range outputs {
		if _, err := IsJPEG(out); err != nil {
			return err
		}
		if err := CheckFile(out); err != nil {
			return err
		}
		for _, other := range outputs[:i] {
			if sameFile(out, other) {
				return fmt.Errorf("%w %q: it is %q too: want two names, one would replace the other", ErrOutput, out, other)
			}
		}
		for _, in := range inputs {
			if sameFile(out, in) {
				return fmt.Errorf("%w %q: it is the input %q, which would be lost: want another name", ErrOutput, out, in)
			}
		}
	}
	return nil
}

// CheckFile refuses a name under which no file can be written.
func CheckFile(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%w %q: there is a folder or device of that name, want the name of a file", ErrOutput, path)
	}
	dir := filepath.Dir(path)
	probe, err := os.CreateTemp(dir, ".doob-*.tmp")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w %q: there is no folder %s: make it first", ErrOutput, path, dir)
	}
	if err != nil {
		return fmt.Errorf("%w %q cannot be written: %w", ErrOutput, path, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// sameFile reports whether two names are of one file, which need not be there yet.
func sameFile(a, b string) bool {
	one, noA := os.Stat(a)
	two, noB := os.Stat(b)
	if noA == nil && noB == nil {
		return os.SameFile(one, two)
	}
	return real(a) == real(b)
}

// real returns a path from the root, with links of its folder followed.
func real(path string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	if whole, err := filepath.Abs(path); err == nil {
		return whole
	}
	return path
}

// CheckSize refuses a picture that has no room in the format of its name.
func CheckSize(path string, height, width int) error {
	const most = 1<<16 - 1
	if is, err := IsJPEG(path); err != nil || is && max(height, width) > most {
		return errors.Join(err, fmt.Errorf("%w %q: a JPEG has at most %d×%d pixels, the result has %d×%d: want a name that ends in .png", ErrOutput, path, most, most, width, height))
	}
	return nil
}

// Encode writes a picture in the format that a file of that name has.
func Encode(w io.Writer, path string, m image.Image) error {
	is, err := IsJPEG(path)
	switch {
	case err != nil:
		return err
	case is:
		return jpeg.Encode(w, m, &jpeg.Options{Quality: quality})
	}
	return png.Encode(w, m)
}
