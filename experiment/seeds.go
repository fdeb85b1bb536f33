package experiment

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/textfile"
	"github.com/doob-diffusion/doob/method"
)

// readSeeds reads samples of a shape from elsewhere, which a buffer shall start with: a .csv with a sample in each line, as doob sample writes
// it, the tensor samples of a .safetensors, a picture, or a folder of pictures.
func readSeeds(path string, shape []int) ([]float32, error) {
	fail := func(err error) ([]float32, error) { return nil, fmt.Errorf("%w: seeds %s: %w", ErrConfig, path, err) }
	files, err := seedFiles(path)
	if err != nil {
		return fail(err)
	}
	var out []float32
	for _, file := range files {
		x, err := readSamples(file, shape)
		if err != nil {
			return fail(err)
		}
		out = append(out, x...)
	}
	for i, v := range out {
		if v-v != 0 {
			return fail(fmt.Errorf("sample %d has %g", i/engine.Size(shape), v))
		}
	}
	if len(out) == 0 {
		return fail(errors.New("there are no samples"))
	}
	return out, nil
}

// seedFiles are those of a path, in the order of their names.
func seedFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	var files []string
	for _, e := range entries {
		if !e.IsDir() {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, err
}

// seedsDigest is the hash of what a method's seeds are, "" for a method without: a run that is resumed must find the same.
func seedsDigest(m method.Method) (string, error) {
	l, ok := m.(seeded)
	if !ok || *l.SeedsPath() == "" {
		return "", nil
	}
	files, err := seedFiles(*l.SeedsPath())
	sum := sha256.New()
	for _, file := range files {
		if err != nil {
			break
		}
		var content []byte
		content, err = os.ReadFile(file)
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(file), len(content), content)
	}
	if err != nil {
		return "", fmt.Errorf("%w: seeds: %w", ErrConfig, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// readSamples reads one file.
func readSamples(file string, shape []int) ([]float32, error) {
	dim := engine.Size(shape)
	switch filepath.Ext(file) {
	case ".csv":
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		text, err := textfile.NewReader(f)
		if err != nil {
			return nil, err
		}
		lines, err := csv.NewReader(text).ReadAll()
		if err != nil {
			return nil, err
		}
		var out []float32
		for i, line := range lines {
			if len(line) != dim {
				return nil, fmt.Errorf("line %d has %d numbers, want %d", i+1, len(line), dim)
			}
			for _, text := range line {
				v, err := strconv.ParseFloat(text, 32)
				if err != nil {
					return nil, fmt.Errorf("line %d: %w", i+1, err)
				}
				out = append(out, float32(v))
			}
		}
		return out, nil
	case ".safetensors":
		f, err := checkpoint.Load(file)
		if err != nil {
			return nil, err
		}
		x, err := f.Tensors["samples"].Float32s()
		if err == nil && len(x)%dim != 0 {
			err = fmt.Errorf("tensor samples has %d numbers, want samples of %d", len(x), dim)
		}
		return x, err
	}
	if len(shape) != 3 {
		return nil, fmt.Errorf("want a .csv or .safetensors of samples with %d numbers each", dim)
	}
	im, err := data.ReadPicture(file, shape[2])
	if err != nil {
		return nil, err
	}
	if im.Height != shape[0] || im.Width != shape[1] {
		return nil, fmt.Errorf("%s has %d×%d pixels, want %d×%d", file, im.Height, im.Width, shape[0], shape[1])
	}
	return im.Pixels, nil
}

// seeded are the methods that may have seeds.
type seeded interface{ SeedsPath() *string }

// locate makes the paths of seeds absolute, since a run may be resumed elsewhere. What is not there is an error before anything is done.
func (c *Common) locate() error {
	for name, m := range c.settings {
		l, ok := m.(seeded)
		if !ok || *l.SeedsPath() == "" {
			continue
		}
		path, err := filepath.Abs(*l.SeedsPath())
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return fmt.Errorf("%w: %s.seeds: %w", ErrConfig, name, err)
		}
		*l.SeedsPath() = path
	}
	return nil
}
