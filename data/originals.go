package data

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

const flowerArchive = "102flowers.tgz" // jpg/image_00001.jpg …, of various sizes

// flowerOriginals are what flowers are cut from. PyTorch knows it by its MD5; size and SHA-256 sum are those of
// TensorFlow Datasets (tensorflow_datasets/url_checksums/oxford_flowers102.txt).
var flowerOriginals = []published{
	{flowerArchive, 344862509, "2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246"},
}

var flowerMirrors = []string{
	"https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
	"https://thor.robots.ox.ac.uk/flowers/102/",
}

// flowerName is what the archive calls photograph i, from 1.
func flowerName(i int) string { return fmt.Sprintf("image_%05d.jpg", i) }

// derive makes images.tar from the archive beside it, and labels.csv. On one machine the bytes of a crop depend on
// those of its original alone, so photographs that are there twice give equal crops and stay on one side of the split.
// Another version of Go, or another processor, may round differently: there is no published sum to compare with.
func (s flowersSize) derive(ctx context.Context, dir string, observe func(Progress)) error {
	err := atomicfile.WriteFunc(filepath.Join(dir, flowerImages), func(w io.Writer) error {
		return s.cut(ctx, filepath.Join(dir, flowerArchive), w, observe)
	})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(dir, flowerLabels), s.table())
}

// table returns the content of labels.csv.
func (s flowersSize) table() []byte {
	table := []byte("file,label\n")
	i := 0
	for _, run := range s.runs {
		for range run.photographs {
			i++
			table = fmt.Appendf(table, "%s,%d\n", flowerName(i), run.label)
		}
	}
	return table
}

// cut writes the crops of all photographs in the archive at path, as an archive in the same order. Only one photograph
// is in memory at a time.
func (s flowersSize) cut(ctx context.Context, path string, w io.Writer, observe func(Progress)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p := Progress{File: flowerImages, Total: info.Size()} // in bytes of the originals
	observe(p)
	out := tar.NewWriter(w)
	err = s.eachPhotograph(bufio.NewReaderSize(readFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := f.Read(b)
		if p.Done += int64(n); n > 0 {
			observe(p)
		}
		return n, err
	}), 1<<16), func(name string, photograph []byte) error {
		crop, err := cropJPEG(photograph, s.side)
		if err != nil {
			return err
		}
		if err := out.WriteHeader(&tar.Header{Name: name, Size: int64(len(crop)), Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		_, err = out.Write(crop)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return out.Close()
}

// eachPhotograph calls do for every photograph in a compressed archive, which must hold each of them once. It may hold
// other files: the published archive is what it is.
func (s flowersSize) eachPhotograph(r io.Reader, do func(name string, photograph []byte) error) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("gzip header: %w", unexpectedEOF(err))
	}
	seen := make(map[string]bool, s.images) // every name, and whether it came
	for i := range s.images {
		seen[flowerName(i+1)] = false
	}
	archive, got := tar.NewReader(z), 0
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d photographs: %w", got, unexpectedEOF(err))
		}
		name := path.Base(header.Name)
		switch before, ok := seen[name]; {
		case !ok || header.Typeflag != tar.TypeReg:
			continue
		case before:
			return fmt.Errorf("got %s twice", name)
		}
		photograph, err := io.ReadAll(archive) // first, because a decoder would take the end of the archive for its own error
		if err == nil {
			err = do(name, photograph)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, unexpectedEOF(err))
		}
		seen[name] = true
		got++
	}
	for i := range s.images {
		if name := flowerName(i + 1); !seen[name] {
			return fmt.Errorf("got %d of %d photographs; the first one missing is %s", got, s.images, name)
		}
	}
	return nil
}
