package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/internal/textfile"
)

var (
	// ErrMissing reports that files of a data set are not in the folder.
	ErrMissing = errors.New("missing data files")
	// ErrChecksum reports a file that reads well but is not the published one.
	ErrChecksum = errors.New("checksum mismatch")
)

// MNIST is the set of handwritten digits of LeCun, Cortes and Burges: 60,000 images to train on and 10,000 to test,
// [28, 28, 1] each, labelled 0 to 9.
type MNIST struct{ Train, Test Images }

// mnistFile describes one of the four files: its dimensions, its SHA-256 compressed and plain, and its size compressed.
type mnistFile struct {
	name       string
	dims       []int
	gzip, idx  string
	size       int64
	maxElement byte
}

// mnistFiles are the published files, in the order in which loadMNIST takes them.
var mnistFiles = [4]mnistFile{
	{name: "train-images-idx3-ubyte", size: 9912422, dims: []int{60000, 28, 28}, maxElement: 255,
		gzip: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
		idx:  "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
	{name: "train-labels-idx1-ubyte", size: 28881, dims: []int{60000}, maxElement: 9,
		gzip: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
		idx:  "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
	{name: "t10k-images-idx3-ubyte", size: 1648877, dims: []int{10000, 28, 28}, maxElement: 255,
		gzip: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
		idx:  "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
	{name: "t10k-labels-idx1-ubyte", size: 4542, dims: []int{10000}, maxElement: 9,
		gzip: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
		idx:  "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
}

var mnistSet = Set{
	Name: "mnist", About: "70,000 handwritten digits, 28×28 grey", Bytes: 11594722,
	find:      func(dir string) ([]verified, error) { return verifyMNIST(dir, mnistFiles) },
	published: publishedMNIST(mnistFiles),
	mirrors: []string{
		"https://ossci-datasets.s3.amazonaws.com/mnist/",
		"https://storage.googleapis.com/cvdf-datasets/mnist/",
	},
}

func publishedMNIST(files [4]mnistFile) (out []published) {
	for _, f := range files {
		out = append(out, published{f.name + ".gz", f.size, f.gzip})
	}
	return out
}

func verifyMNIST(dir string, files [4]mnistFile) ([]verified, error) {
	paths, err := findMNIST(dir, files)
	if err != nil {
		return nil, err
	}
	var out []verified
	for i, f := range files {
		_, sum, err := f.read(paths[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", paths[i], err)
		}
		out = append(out, verified{paths[i], sum})
	}
	return out, nil
}

// LoadMNIST reads the four original IDX files from dir, each compressed (name.gz) or plain (name), and checks that
// they are the published ones. Pixels become v/127.5 − 1. Absent files give ErrMissing, altered ones ErrChecksum.
func LoadMNIST(dir string) (MNIST, error) {
	m, err := loadMNIST(dir, mnistFiles)
	if err != nil {
		return MNIST{}, fmt.Errorf("load MNIST: %w", err)
	}
	return m, nil
}

func loadMNIST(dir string, files [4]mnistFile) (MNIST, error) {
	paths, err := findMNIST(dir, files)
	if err != nil {
		return MNIST{}, err
	}
	var elements [4][]byte
	for i, f := range files {
		if elements[i], _, err = f.read(paths[i]); err != nil {
			return MNIST{}, fmt.Errorf("%s: %w", paths[i], err)
		}
	}
	return MNIST{
		Train: newImages(files[0].dims, elements[0], elements[1]),
		Test:  newImages(files[2].dims, elements[2], elements[3]),
	}, nil
}

// findMNIST looks for every file before any is read, so that one error lists all that are missing.
func findMNIST(dir string, files [4]mnistFile) (paths [4]string, err error) {
	var missing []string
	for i, f := range files {
		for _, name := range []string{f.name + ".gz", f.name} {
			_, err := os.Stat(filepath.Join(dir, name))
			if err == nil {
				paths[i] = filepath.Join(dir, name)
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return paths, err
			}
		}
		if paths[i] == "" {
			missing = append(missing, f.name+"[.gz]")
		}
	}
	if len(missing) > 0 {
		return paths, fmt.Errorf("%w: looked in %s, found no %s", ErrMissing, dir, strings.Join(missing, ", no "))
	}
	return paths, nil
}

// read returns the elements of the file at path and its SHA-256. The structure is checked before the checksum, because it can say
// what is wrong, where a checksum only says that something is.
func (f mnistFile) read(path string) (elements []byte, sum string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	hash := sha256.New()
	raw := bufio.NewReader(io.TeeReader(file, hash))

	start, _ := raw.Peek(1024)
	if err := textfile.Pointer(start, int64(len(start))); err != nil {
		return nil, "", err
	}
	// By content, not by name: browsers unpack downloads and keep the .gz.
	want, r := f.idx, io.Reader(raw)
	if bytes.HasPrefix(start, []byte("\x1f\x8b")) {
		z, err := gzip.NewReader(raw)
		if err != nil {
			return nil, "", fmt.Errorf("gzip header: %w", unexpectedEOF(err))
		}
		z.Multistream(false) // what follows is no second part
		want, r = f.gzip, z
	}
	dims, elements, err := readIDX(r)
	if err != nil {
		return nil, "", err
	}
	if err := f.check(dims, elements); err != nil {
		return nil, "", err
	}
	rest, err := io.Copy(io.Discard, raw)
	if err != nil {
		return nil, "", err
	}
	if rest > 0 {
		return nil, "", fmt.Errorf("got %d bytes after the end of the compressed data, expected none", rest)
	}
	return elements, want, verify(hash, want)
}

// check reports elements that cannot be those of f.
func (f mnistFile) check(dims []int, elements []byte) error {
	if len(dims) != len(f.dims) {
		kind := map[int]string{1: "labels", 3: "images"}
		return fmt.Errorf("got dimensions %v (%s), expected %v (%s): are files swapped?",
			dims, kind[len(dims)], f.dims, kind[len(f.dims)])
	}
	if !slices.Equal(dims, f.dims) {
		return fmt.Errorf("got dimensions %v, expected %v", dims, f.dims)
	}
	for i, v := range elements {
		if v > f.maxElement {
			return fmt.Errorf("got element %d = %d, expected at most %d", i, v, f.maxElement)
		}
	}
	return nil
}

// verify compares a finished hash with the published sum.
func verify(sum hash.Hash, want string) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != want {
		return fmt.Errorf("%w: got %s, expected %s", ErrChecksum, got, want)
	}
	return nil
}

func newImages(dims []int, pixels, labels []byte) Images {
	im := Images{
		Pixels: make([]float32, len(pixels)), Labels: make([]int, len(labels)),
		N: dims[0], Height: dims[1], Width: dims[2], Channels: 1,
	}
	for i, v := range pixels {
		im.Pixels[i] = float32(v)/127.5 - 1
	}
	for i, v := range labels {
		im.Labels[i] = int(v)
	}
	return im
}
