package data

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/internal/textfile"
)

// Flowers is the set of Nilsback and Zisserman, "Automated flower classification over a large number of classes" (ICVGIP
// 2008), cut and reduced to [64, 64, 3]: 8,189 photographs of 102 kinds, labelled 0 to 101. Pixels are RGB. A crop has
// all of the shorter side of a photograph, and the middle of the longer.
//
// Every tenth photograph is for tests. Five are there twice (7307 and 7309, 7885 and 7886, 7323 and 7328, 8067 and 8077,
// 7015 and 7040): both copies are on the side of the first.
type Flowers struct{ Train, Test Images }

const (
	flowerImages = "images.tar" // JPEG files
	flowerLabels = "labels.csv" // file,label with labels from 1
)

// flowersSize are the numbers that a set of flowers must have. Only derive needs runs.
type flowersSize struct {
	images, kinds, side int
	runs                []labelRun
}

var flowers102 = flowersSize{images: 8189, kinds: 102, side: 64, runs: flowerRuns}

var flowersSet = Set{
	Name: "flowers102", About: "8,189 photographs of 102 kinds of flowers, 64×64 RGB, cut from a download of 345 MB", Bytes: 19252880,
	find: func(dir string) ([]verified, error) {
		_, files, err := flowers102.read(dir)
		return files, err
	},
	published: flowerOriginals,
	mirrors:   flowerMirrors,
	derive:    flowers102.derive,
}

// LoadFlowers reads images.tar and labels.csv from dir, and checks their numbers, and their SHA-256 if a file SHA256SUMS
// is beside them. It takes 400 MB of memory. Absent files give [ErrMissing], altered ones [ErrChecksum].
func LoadFlowers(dir string) (Flowers, error) {
	photos, _, err := flowers102.read(dir)
	if err != nil {
		return Flowers{}, fmt.Errorf("load Flowers-102: %w", err)
	}
	return flowers102.split(photos), nil
}

// photo is one image of a set of flowers.
type photo struct {
	name  string
	label int // from 0
	sum   [sha256.Size]byte
	rgb   []byte // [side, side, 3]; nil until it is read
}

// split divides photographs, in the order of their names, into those to train on and those to test.
func (s flowersSize) split(photos []photo) Flowers {
	var parts [2][]photo
	first := map[[sha256.Size]byte]int{}
	for i, p := range photos {
		j, ok := first[p.sum]
		if !ok {
			first[p.sum], j = i, i
		}
		part := 0
		if (j+1)%10 == 0 {
			part = 1
		}
		parts[part] = append(parts[part], p)
	}
	return Flowers{Train: s.arrays(parts[0]), Test: s.arrays(parts[1])}
}

func (s flowersSize) arrays(photos []photo) Images {
	im := Images{Pixels: make([]float32, 0, len(photos)*s.side*s.side*3), N: len(photos), Height: s.side, Width: s.side, Channels: 3}
	for _, p := range photos {
		for _, v := range p.rgb {
			im.Pixels = append(im.Pixels, float32(v)/127.5-1)
		}
		im.Labels = append(im.Labels, p.label)
	}
	return im
}

// read returns the photographs in dir, in the order of their names, and the files that they come from.
func (s flowersSize) read(dir string) ([]photo, []verified, error) {
	files := []verified{{path: filepath.Join(dir, flowerImages)}, {path: filepath.Join(dir, flowerLabels)}}
	var missing []string
	for _, f := range files {
		if _, err := os.Stat(f.path); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, filepath.Base(f.path))
		} else if err != nil {
			return nil, nil, err
		}
	}
	if len(missing) > 0 {
		return nil, nil, fmt.Errorf("%w: looked in %s, found no %s", ErrMissing, dir, strings.Join(missing, ", no "))
	}
	sums, err := readSums(dir)
	if err != nil {
		return nil, nil, err
	}
	var photos []photo
	for _, f := range []struct {
		*verified
		read func(io.Reader) error
	}{
		{&files[1], func(r io.Reader) (err error) { photos, err = s.readLabels(r); return err }},
		{&files[0], func(r io.Reader) error { return s.readImages(r, photos) }},
	} {
		if f.sum, err = readHashed(f.path, f.read); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", f.path, err)
		}
		if want, ok := sums[filepath.Base(f.path)]; ok && f.sum != want {
			return nil, nil, fmt.Errorf("%s: %w: got %s, expected %s", f.path, ErrChecksum, f.sum, want)
		}
	}
	return photos, files, nil
}

// readHashed gives the content of a file to read, and returns the SHA-256 of all of it.
func readHashed(path string, read func(io.Reader) error) (sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	tee := io.TeeReader(f, hash)
	if err := read(tee); err != nil {
		return "", err
	}
	if _, err := io.Copy(io.Discard, tee); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// readLabels returns the photographs that labels.csv lists, in the order of their names.
func (s flowersSize) readLabels(r io.Reader) ([]photo, error) {
	text, err := textfile.NewReader(r)
	if err != nil {
		return nil, err
	}
	table := csv.NewReader(text)
	table.FieldsPerRecord = 2
	var photos []photo
	for {
		record, err := table.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		line, _ := table.FieldPos(0)
		if line == 1 && slices.Equal(record, []string{"file", "label"}) {
			continue
		}
		label, err := strconv.Atoi(record[1])
		if err != nil || label < 1 || label > s.kinds {
			return nil, fmt.Errorf("line %d: got label %q, expected a number from 1 to %d", line, record[1], s.kinds)
		}
		photos = append(photos, photo{name: record[0], label: label - 1})
	}
	slices.SortFunc(photos, func(a, b photo) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(photos); i++ {
		if photos[i].name == photos[i-1].name {
			return nil, fmt.Errorf("%s is listed twice", photos[i].name)
		}
	}
	if len(photos) != s.images {
		return nil, fmt.Errorf("got labels of %d photographs, expected %d", len(photos), s.images)
	}
	return photos, nil
}

// readImages fills in the photographs, which come in any order.
func (s flowersSize) readImages(r io.Reader, photos []photo) error {
	const limit = 1 << 20 // of a file; one of 64×64 has 2 kB
	buffered := bufio.NewReaderSize(r, 1<<16)
	begin, _ := buffered.Peek(1024)
	if err := textfile.Pointer(begin, int64(len(begin))); err != nil {
		return err
	}
	archive, got := tar.NewReader(buffered), 0
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d photographs: %w", got, unexpectedEOF(err))
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		name := path.Base(header.Name)
		i, ok := slices.BinarySearchFunc(photos, name, func(p photo, name string) int { return strings.Compare(p.name, name) })
		switch {
		case !ok:
			return fmt.Errorf("got %s, which has no label", header.Name)
		case photos[i].rgb != nil:
			return fmt.Errorf("got %s twice", name)
		case header.Size > limit:
			return fmt.Errorf("%s has %d bytes, expected at most %d", name, header.Size, limit)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return fmt.Errorf("%s: %w", name, unexpectedEOF(err))
		}
		if photos[i].rgb, err = s.decode(content); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		photos[i].sum = sha256.Sum256(content)
		got++
	}
	if got < len(photos) {
		at := slices.IndexFunc(photos, func(p photo) bool { return p.rgb == nil })
		return fmt.Errorf("got %d of %d photographs; the first one missing is %s", got, len(photos), photos[at].name)
	}
	return nil
}

// decode returns the pixels of a JPEG file, [side, side, 3].
func (s flowersSize) decode(content []byte) ([]byte, error) {
	size, err := jpeg.DecodeConfig(bytes.NewReader(content))
	if err != nil {
		return nil, unexpectedEOF(err)
	}
	if size.Width != s.side || size.Height != s.side {
		return nil, fmt.Errorf("got an image of %d×%d, expected %d×%d", size.Width, size.Height, s.side, s.side)
	}
	decoded, err := jpeg.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, unexpectedEOF(err)
	}
	rgba := image.NewRGBA(image.Rect(0, 0, s.side, s.side))
	draw.Draw(rgba, rgba.Bounds(), decoded, decoded.Bounds().Min, draw.Src)
	rgb := make([]byte, 0, 3*s.side*s.side)
	for p := range slices.Chunk(rgba.Pix, 4) {
		rgb = append(rgb, p[:3]...)
	}
	return rgb, nil
}
