package data

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func idxBytes(elements []byte, dims ...int) []byte {
	b := []byte{0, 0, 8, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, uint32(d))
	}
	return append(b, elements...)
}

func gz(b []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(b)
	w.Close()
	return buf.Bytes()
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// tinySet is a data set of 3 + 2 images of 2×1 pixels, in files as MNIST's.
func tinySet() (files [4]mnistFile, content [4][]byte) {
	content = [4][]byte{
		idxBytes([]byte{0, 255, 51, 102, 153, 204}, 3, 2, 1), idxBytes([]byte{7, 0, 9}, 3),
		idxBytes([]byte{1, 2, 3, 4}, 2, 2, 1), idxBytes([]byte{5, 6}, 2),
	}
	files = mnistFiles
	for i := range files {
		files[i].dims = [][]int{{3, 2, 1}, {3}, {2, 2, 1}, {2}}[i]
		files[i].idx, files[i].gzip = sum(content[i]), sum(gz(content[i]))
	}
	return files, content
}

func write(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestMNIST(t *testing.T) {
	files, content := tinySet()
	want := MNIST{
		Train: Images{Pixels: []float32{-1, 1, -0.6, -0.2, 0.2, 0.6}, Labels: []int{7, 0, 9}, N: 3, Height: 2, Width: 1, Channels: 1},
		Test: Images{Pixels: []float32{1/127.5 - 1, 2/127.5 - 1, 3/127.5 - 1, 4/127.5 - 1}, Labels: []int{5, 6},
			N: 2, Height: 2, Width: 1, Channels: 1},
	}
	near := cmp.Comparer(func(a, b float32) bool { return a-b < 1e-6 && b-a < 1e-6 })
	for name, file := range map[string]func(name string, b []byte) (string, []byte){
		"compressed":         func(name string, b []byte) (string, []byte) { return name + ".gz", gz(b) },
		"plain":              func(name string, b []byte) (string, []byte) { return name, b },
		"unpacked under .gz": func(name string, b []byte) (string, []byte) { return name + ".gz", b },
	} {
		dir := t.TempDir()
		for i, f := range files {
			n, b := file(f.name, content[i])
			write(t, dir, n, b)
		}
		got, err := loadMNIST(dir, files)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if d := cmp.Diff(want, got, near); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		} else if d := cmp.Diff([]float32{0.2, 0.6}, got.Train.At(2), near); d != "" {
			t.Errorf("%s: At(2) (-want +got):\n%s", name, d)
		}
	}
}

func TestMNISTErrors(t *testing.T) {
	files, content := tinySet()
	const bad = 1 // the training labels
	packed := gz(content[bad])
	for _, c := range []struct {
		name    string
		content []byte
		want    []string // parts of the message
		is      error
	}{
		{"images under the labels' name", gz(content[0]), []string{"[3 2 1] (images)", "[3] (labels)", "swapped"}, nil},
		{"other half", gz(content[3]), []string{"got dimensions [2], expected [3]"}, nil},
		{"other bytes", gz(idxBytes([]byte{7, 1, 9}, 3)), []string{"got " + sum(gz(idxBytes([]byte{7, 1, 9}, 3))), "expected " + files[bad].gzip}, ErrChecksum},
		{"other plain bytes", idxBytes([]byte{7, 1, 9}, 3), []string{"expected " + files[bad].idx}, ErrChecksum},
		{"label 10", gz(idxBytes([]byte{7, 0, 10}, 3)), []string{"element 2 = 10", "at most 9"}, nil},
		{"truncated gzip", packed[:len(packed)-9], []string{"truncated"}, io.ErrUnexpectedEOF},
		{"truncated gzip trailer", packed[:len(packed)-1], []string{"truncated"}, io.ErrUnexpectedEOF},
		{"truncated gzip header", packed[:5], []string{"gzip header", "truncated"}, io.ErrUnexpectedEOF},
		{"gzip with a wrong bit", append(bytes.Clone(packed[:len(packed)-6]), 0, 0, 0, 0, 0, 0), []string{"invalid checksum"}, gzip.ErrChecksum},
		{"bytes after the gzip", append(bytes.Clone(packed), "more than a header"...), []string{"got 18 bytes after the end of the compressed data"}, nil},
		{"a few bytes after the gzip", append(bytes.Clone(packed), "junk"...), []string{"got 4 bytes after the end of the compressed data"}, nil},
		{"a second part", append(bytes.Clone(packed), packed...), []string{"bytes after the end of the compressed data"}, nil},
		{"a pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9912422\n"), []string{"Git LFS pointer, a text of 72 bytes in place of the file of 9912422 bytes"}, nil},
		{"web page", []byte("<html>404"), []string{"magic number 3c 68 74 6d"}, nil},
		{"empty", nil, []string{"magic number", "truncated"}, io.ErrUnexpectedEOF},
	} {
		dir := t.TempDir()
		for i, f := range files {
			write(t, dir, f.name+".gz", gz(content[i]))
		}
		path := filepath.Join(dir, files[bad].name+".gz")
		write(t, dir, files[bad].name+".gz", c.content)
		_, err := loadMNIST(dir, files)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range append(c.want, path) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: err = %v, want %q in it", c.name, err, want)
			}
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: err = %v, want %v", c.name, err, c.is)
		}
	}
}

func TestMNISTMissing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, mnistFiles[2].name, nil)
	_, err := LoadMNIST(dir)
	if !errors.Is(err, ErrMissing) {
		t.Fatalf("err = %v, want ErrMissing", err)
	}
	for i, f := range mnistFiles {
		if got := strings.Contains(err.Error(), f.name); got != (i != 2) {
			t.Errorf("err = %v; mentions %s: %v", err, f.name, got)
		}
	}
	if !strings.Contains(err.Error(), dir) {
		t.Errorf("err = %v, want the folder %s in it", err, dir)
	}
}

func TestReadIDX(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want string // part of the error; empty for none
	}{
		{"two dimensions", idxBytes([]byte{1, 2, 3, 4}, 2, 2), ""},
		{"scalar", idxBytes([]byte{1}), ""},
		{"no elements", idxBytes(nil, 0, 28), ""},
		{"floats", []byte{0, 0, 0xd, 1, 0, 0, 0, 0}, "magic number 00 00 0d 01"},
		{"header cut", idxBytes(nil, 2, 2)[:10], "dimension 2 of 2"},
		{"elements cut", idxBytes([]byte{1, 2, 3}, 2, 2), "got 3 elements, expected 4"},
		{"elements added", idxBytes([]byte{1, 2, 3, 4, 5}, 2, 2), "bytes after the 4 elements"},
		{"gigabytes announced", idxBytes([]byte{1}, 1<<14, 1<<14), "got 1 elements, expected 268435456"},
		{"more than the limit", idxBytes([]byte{1}, 1<<14, 1<<14, 2), "at most"},
		{"overflow", idxBytes([]byte{1}, 1<<32-1, 1<<32-1, 1<<32-1), "at most"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		dims, elements, err := readIDX(bytes.NewReader(c.file))
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: allocated %d bytes", c.name, got)
		}
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: err = %v, want %q in it", c.name, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !bytes.Equal(idxBytes(elements, dims...), c.file) {
			t.Errorf("%s: got %v %v", c.name, dims, elements)
		}
	}
}
