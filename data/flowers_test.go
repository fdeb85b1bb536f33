package data

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

var tinyFlowers = flowersSize{images: 23, kinds: 4, side: 8, runs: []labelRun{
	{2, 1}, {3, 1}, {4, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {1, 1},
	{2, 1}, {3, 1}, {4, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 1},
}}

// photograph is a JPEG file of one colour.
func photograph(t *testing.T, side int, c color.RGBA) []byte {
	t.Helper()
	im := image.NewRGBA(image.Rect(0, 0, side, side))
	for i := range side * side {
		im.SetRGBA(i%side, i/side, c)
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, im, &jpeg.Options{Quality: 100}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func colourOf(number int) color.RGBA {
	return color.RGBA{uint8(10 * number), uint8(255 - 10*number), uint8(7 * number), 255}
}

type entry struct {
	name    string
	content []byte
}

// bouquet is a set of 23 flowers as tinyFlowers wants it: image 20 has the bytes of 13 and 17 those of 10.
func bouquet(t *testing.T) (labels string, images []entry) {
	t.Helper()
	labels = "file,label\n"
	for number := 1; number <= tinyFlowers.images; number++ {
		shown := number
		switch number {
		case 20:
			shown = 13
		case 17:
			shown = 10
		}
		name := fmt.Sprintf("image_%05d.jpg", number)
		labels += fmt.Sprintf("%s,%d\n", name, 1+number%4)
		images = append(images, entry{name, photograph(t, tinyFlowers.side, colourOf(shown))})
	}
	return labels, images
}

func archive(t *testing.T, entries []entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: "jpg/", Typeflag: tar.TypeDir, Mode: 0o777})
	for _, e := range entries {
		if err := w.WriteHeader(&tar.Header{Name: "jpg/" + e.name, Size: int64(len(e.content)), Mode: 0o666}); err != nil {
			t.Fatal(err)
		}
		w.Write(e.content)
	}
	w.Close()
	return b.Bytes()
}

func TestFlowers(t *testing.T) {
	labels, images := bouquet(t)
	slices.Reverse(images) // the order of the archive does not matter
	dir := t.TempDir()
	write(t, dir, flowerLabels, []byte(labels))
	write(t, dir, flowerImages, archive(t, images))
	photos, files, err := tinyFlowers.read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := sum(archive(t, images)); files[0].sum != want || files[1].sum != sum([]byte(labels)) {
		t.Errorf("sums are %v", files)
	}
	// Every tenth to test, but 20 with its copy 13 to train on, and 17 with its copy 10 to test.
	got := tinyFlowers.split(photos)
	want := map[string][]int{"test": {10, 17}}
	for number := 1; number <= 23; number++ {
		if number != 10 && number != 17 {
			want["train"] = append(want["train"], number)
		}
	}
	for name, im := range map[string]Images{"train": got.Train, "test": got.Test} {
		if im.N != len(want[name]) || im.Height != 8 || im.Width != 8 || im.Channels != 3 || len(im.Pixels) != im.N*8*8*3 {
			t.Fatalf("%s: %d images of [%d, %d, %d], %d numbers", name, im.N, im.Height, im.Width, im.Channels, len(im.Pixels))
		}
		for i, number := range want[name] {
			if im.Labels[i] != number%4 {
				t.Errorf("%s: label of %d is %d, want %d", name, number, im.Labels[i], number%4)
			}
			shown := map[int]int{20: 13, 17: 10}[number]
			if shown == 0 {
				shown = number
			}
			c := colourOf(shown)
			for k, v := range im.At(i) {
				if value := (float64(v) + 1) * 127.5; math.Abs(value-float64([]uint8{c.R, c.G, c.B}[k%3])) > 3 { // JPEG loses a little
					t.Fatalf("%s: pixel %d of %d is %.1f, want %v", name, k, number, value, c)
				}
			}
		}
	}
}

func TestFlowersErrors(t *testing.T) {
	labels, images := bouquet(t)
	whole := archive(t, images)
	replace := func(i int, content []byte) []byte {
		e := slices.Clone(images)
		e[i].content = content
		return archive(t, e)
	}
	for _, c := range []struct {
		name           string
		labels         string
		images         []byte
		sums           string
		want, in, also string // parts of the message
		is             error
	}{
		{"no photographs", labels, archive(t, nil), "", "got 0 of 23", flowerImages, "image_00001.jpg", nil},
		{"one missing", labels, archive(t, slices.Delete(slices.Clone(images), 6, 7)), "", "got 22 of 23", flowerImages, "image_00007.jpg", nil},
		{"one twice", labels, archive(t, append(images[:23:23], images[4])), "", "image_00005.jpg twice", flowerImages, "", nil},
		{"one without label", labels, archive(t, append(images[:23:23], entry{"image_00024.jpg", nil})), "", "image_00024.jpg", "no label", "", nil},
		{"another size", labels, replace(3, photograph(t, 16, colourOf(1))), "", "image_00004.jpg", "16×16", "8×8", nil},
		{"no JPEG", labels, replace(3, []byte("<html>")), "", "image_00004.jpg", "JPEG", "", nil},
		{"truncated JPEG", labels, replace(3, images[3].content[:len(images[3].content)-30]), "", "image_00004.jpg", "truncated", "", io.ErrUnexpectedEOF},
		{"huge", labels, replace(3, make([]byte, 1<<20+1)), "", "image_00004.jpg", "1048577 bytes", "", nil},
		{"truncated archive", labels, whole[:len(whole)/2], "", "truncated", flowerImages, "", io.ErrUnexpectedEOF},
		{"no archive", labels, []byte(strings.Repeat("no archive ", 100)), "", flowerImages, "tar", "", tar.ErrHeader},
		{"empty", "", whole, "", "labels of 0 photographs, expected 23", flowerLabels, "", nil},
		{"too few labels", strings.TrimSuffix(labels, "image_00023.jpg,4\n"), whole, "", "labels of 22", flowerLabels, "", nil},
		{"a label twice", labels + "image_00002.jpg,1\n", whole, "", "image_00002.jpg is listed twice", flowerLabels, "", nil},
		{"label 0", strings.Replace(labels, "23.jpg,4", "23.jpg,0", 1), whole, "", `line 24: got label "0"`, "from 1 to 4", "", nil},
		{"label 5", strings.Replace(labels, "23.jpg,4", "23.jpg,5", 1), whole, "", `got label "5"`, "from 1 to 4", "", nil},
		{"no number", strings.Replace(labels, "23.jpg,4", "23.jpg,rose", 1), whole, "", `got label "rose"`, "from 1 to 4", "", nil},
		{"three columns", strings.Replace(labels, "23.jpg,4", "23.jpg,4,4", 1), whole, "", "wrong number of fields", flowerLabels, "", nil},
		{"another sum", labels, whole, sum(nil) + "  " + flowerImages + "\n", "got " + sum(whole), "expected " + sum(nil), flowerImages, ErrChecksum},
		{"no sums", labels, whole, "images.tar is fine\n", "SHA256SUMS, line 1", "expected a SHA-256 sum", "", nil},
	} {
		dir := t.TempDir()
		write(t, dir, flowerLabels, []byte(c.labels))
		write(t, dir, flowerImages, c.images)
		if c.sums != "" {
			write(t, dir, sumsFile, []byte(c.sums))
		}
		_, _, err := tinyFlowers.read(dir)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range []string{c.want, c.in, c.also, dir} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: err = %v, want %q in it", c.name, err, want)
			}
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: err = %v, want %v", c.name, err, c.is)
		}
	}
	dir := t.TempDir()
	write(t, dir, flowerLabels, nil)
	if _, err := LoadFlowers(dir); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "no "+flowerImages) {
		t.Errorf("err = %v, want ErrMissing and the name of the archive", err)
	}
	write(t, dir, flowerLabels, []byte(labels))
	write(t, dir, flowerImages, whole)
	write(t, dir, sumsFile, []byte(strings.ToUpper(sum(whole))+" *"+flowerImages+"\n\n"+sum(nil)+"  another.file\n"))
	if _, _, err := tinyFlowers.read(dir); err != nil {
		t.Errorf("right sums: %v", err)
	}
}
