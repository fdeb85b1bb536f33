package data

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// meadow is the photographs of tinyFlowers as they are published: image 20 has the bytes of 13, 17 those of 10, and no
// side is that of a crop.
func meadow(t *testing.T) []entry {
	t.Helper()
	_, photographs := bouquet(t)
	for i := range photographs {
		number := map[int]int{20: 13, 17: 10}[i+1]
		if number == 0 {
			number = i + 1
		}
		photographs[i].content = photograph(t, 9+number, colourOf(number))
	}
	return photographs
}

// meadowSet is a set to download from a server that counts what it is asked for, and the content of its published file.
func meadowSet(t *testing.T, tgz []byte, answer func(w http.ResponseWriter, r *http.Request) bool) (s Set, asked *[]string) {
	t.Helper()
	content := map[string][]byte{"/" + flowerArchive: tgz}
	asked = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
		if answer == nil || answer(w, r) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content[r.URL.Path]))
		}
	}))
	t.Cleanup(server.Close)
	return Set{
		Name: "meadow", derive: tinyFlowers.derive, mirrors: []string{server.URL + "/"},
		find: func(dir string) ([]verified, error) {
			_, files, err := tinyFlowers.read(dir)
			return files, err
		},
		published: []published{{flowerArchive, int64(len(tgz)), sum(tgz)}},
	}, asked
}

func TestDownloadFlowers(t *testing.T) {
	photographs := meadow(t)
	published := append(slices.Clone(photographs), entry{"Thumbs.db", []byte("not a photograph")})
	slices.Reverse(published) // the order of the archive does not matter
	s, asked := meadowSet(t, gz(archive(t, published)), nil)
	dir := filepath.Join(t.TempDir(), "new")
	last := map[string]Progress{}
	get := func(want ...string) {
		t.Helper()
		*asked = nil
		if err := s.Download(t.Context(), dir, func(p Progress) { last[p.File] = p }); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, *asked); d != "" {
			t.Errorf("asked (-want +got):\n%s", d)
		}
	}
	get("/" + flowerArchive)
	for _, name := range []string{flowerArchive, flowerImages} {
		if p := last[name]; p.Done == 0 || p.Done != p.Total {
			t.Errorf("the last progress of %s is %+v", name, p)
		}
	}
	if err := s.Check(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if d := cmp.Diff([]string{sumsFile, flowerImages, flowerLabels}, names); d != "" {
		t.Errorf("folder (-want +got):\n%s", d)
	}
	want, _ := bouquet(t)
	if d := cmp.Diff(want, folder(t, dir)[flowerLabels]); d != "" {
		t.Errorf("labels (-want +got):\n%s", d)
	}

	photos, _, err := tinyFlowers.read(dir)
	if err != nil {
		t.Fatal(err)
	}
	first := map[[32]byte]int{}
	for i, p := range photos {
		number := map[int]int{20: 13, 17: 10}[i+1]
		if same, ok := first[p.sum]; ok && same != number {
			t.Errorf("%d has the bytes of %d", i+1, same)
		} else if !ok && number != 0 {
			t.Errorf("%d and %d are one photograph, but their crops differ", i+1, number)
		} else if !ok {
			first[p.sum], number = i+1, i+1
		}
		c := colourOf(number)
		for k, v := range p.rgb {
			if math.Abs(float64(v)-float64([]uint8{c.R, c.G, c.B}[k%3])) > 4 { // JPEG loses a little, twice
				t.Fatalf("value %d of %d is %d, want %v", k, i+1, v, c)
			}
		}
	}
	if got := tinyFlowers.split(photos); got.Train.N != 21 || !slices.Equal(got.Test.Labels, []int{10 % 4, 17 % 4}) {
		t.Errorf("%d to train on, labels to test %v, want 21 and those of 10 and its copy 17", got.Train.N, got.Test.Labels)
	}

	// What is there is not fetched again, and what an earlier call left goes.
	left := filepath.Join(dir, "meadow.originals")
	if err := os.Mkdir(left, 0o777); err != nil {
		t.Fatal(err)
	}
	get()
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", left, err)
	}
	// What is damaged is made anew, in spite of the sums of before.
	write(t, dir, flowerImages, []byte("damaged"))
	get("/" + flowerArchive)
	if err := s.Check(dir); err != nil {
		t.Error(err)
	}
}

// An interrupted download goes on where it was, and nothing looks like the set before it is one.
func TestDownloadFlowersInterrupted(t *testing.T) {
	photographs := meadow(t)
	tgz := gz(archive(t, photographs))
	half := len(tgz) / 2
	ctx, cancel := context.WithCancel(t.Context())
	s, asked := meadowSet(t, tgz, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/"+flowerArchive || r.Header.Get("Range") != "" {
			return true
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(tgz)))
		w.Write(tgz[:half])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return false
	})
	dir := t.TempDir()
	err := s.Download(ctx, dir, func(p Progress) {
		if p.File == flowerArchive && p.Done == int64(half) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v, want Canceled", err)
	}
	if err := s.Check(dir); !errors.Is(err, ErrMissing) {
		t.Errorf("err = %v, want ErrMissing", err)
	}
	// Then it stops again, while it makes the crops.
	ctx, cancel = context.WithCancel(t.Context())
	err = s.Download(ctx, dir, func(p Progress) {
		if p.File == flowerImages {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v, want Canceled", err)
	}
	if err := s.Check(dir); !errors.Is(err, ErrMissing) {
		t.Errorf("err = %v, want ErrMissing", err)
	}
	if d := cmp.Diff(map[string]string{flowerArchive: string(tgz)}, folder(t, filepath.Join(dir, "meadow.originals"))); d != "" {
		t.Errorf("originals (-want +got):\n%s", d)
	}
	if err := s.Download(t.Context(), dir, func(Progress) {}); err != nil {
		t.Fatal(err)
	}
	want := []string{"/" + flowerArchive, fmt.Sprintf("/%s bytes=%d-", flowerArchive, half)}
	if d := cmp.Diff(want, *asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
	if err := s.Check(dir); err != nil {
		t.Error(err)
	}
}

func TestDownloadFlowersErrors(t *testing.T) {
	photographs := meadow(t)
	replace := func(i int, content []byte) []byte {
		e := slices.Clone(photographs)
		e[i].content = content
		return gz(archive(t, e))
	}
	tgz := gz(archive(t, photographs))
	whole := photographs[4].content
	for _, c := range []struct {
		name string
		tgz  []byte
		want []string
		is   error
	}{
		{"truncated", tgz[:len(tgz)/2], []string{flowerArchive, "truncated"}, io.ErrUnexpectedEOF},
		{"truncated at once", tgz[:5], []string{flowerArchive, "gzip header", "truncated"}, io.ErrUnexpectedEOF},
		{"no gzip", archive(t, photographs), []string{flowerArchive, "gzip header"}, nil},
		{"no archive", gz([]byte(strings.Repeat("no archive ", 100))), []string{flowerArchive, "after 0 photographs"}, tar.ErrHeader},
		{"one missing", gz(archive(t, photographs[:22])), []string{"got 22 of 23", "image_00023.jpg"}, nil},
		{"one twice", gz(archive(t, append(photographs[:23:23], photographs[4]))), []string{"got image_00005.jpg twice"}, nil},
		{"no JPEG", replace(4, []byte("<html>")), []string{flowerArchive, "image_00005.jpg", "JPEG"}, nil},
		{"truncated JPEG", replace(4, whole[:len(whole)-30]), []string{"image_00005.jpg", "truncated"}, io.ErrUnexpectedEOF},
	} {
		s, asked := meadowSet(t, c.tgz, nil)
		dir := t.TempDir()
		for range 2 { // the second call fetches nothing
			err := s.Download(t.Context(), dir, func(Progress) {})
			if err == nil {
				t.Errorf("%s: no error", c.name)
				break
			}
			for _, want := range append(c.want, "make meadow", dir) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%s: err = %v, want %q in it", c.name, err, want)
				}
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%s: err = %v, want %v", c.name, err, c.is)
			}
			if err := s.Check(dir); !errors.Is(err, ErrMissing) {
				t.Errorf("%s: err = %v, want ErrMissing", c.name, err)
			}
		}
		if d := cmp.Diff([]string{"/" + flowerArchive}, *asked); d != "" {
			t.Errorf("%s: asked (-want +got):\n%s", c.name, d)
		}
		if got := folder(t, filepath.Join(dir, "meadow.originals")); len(got) != 1 {
			t.Errorf("%s: %d files are left, want the archive", c.name, len(got))
		}
	}

	// An archive that is not the published one is not even opened.
	s, _ := meadowSet(t, tgz, nil)
	s.published[0].sum = sum(nil)
	dir := t.TempDir()
	if err := s.Download(t.Context(), dir, func(Progress) {}); !errors.Is(err, ErrChecksum) || !strings.Contains(err.Error(), flowerArchive) {
		t.Errorf("err = %v, want ErrChecksum and the name of the archive", err)
	}
	if got := folder(t, filepath.Join(dir, "meadow.originals")); len(got) != 0 {
		t.Errorf("%d files are left, want none", len(got))
	}
}

// flowerCopies are the photographs that are there twice, by the number of the second.
var flowerCopies = map[int]int{7309: 7307, 7886: 7885, 7328: 7323, 8077: 8067, 7040: 7015}

// Photographs that are there twice stay on one side. Of the five real pairs it takes care for the last.
func TestFlowersCopies(t *testing.T) {
	s := flowersSize{images: 8189, kinds: 8189, side: 1}
	photos := make([]photo, s.images)
	for i := range photos {
		number, shown := i+1, i+1
		if first, ok := flowerCopies[number]; ok {
			shown = first
		}
		photos[i] = photo{name: flowerName(number), label: number, rgb: make([]byte, 3)}
		photos[i].sum[0], photos[i].sum[1] = byte(shown), byte(shown>>8)
	}
	got := s.split(photos)
	if got.Train.N+got.Test.N != 8189 || got.Test.N != 817 {
		t.Errorf("%d to train on and %d to test, want 7372 and 817", got.Train.N, got.Test.N)
	}
	tests := map[int]bool{}
	for _, number := range got.Test.Labels {
		tests[number] = true
	}
	for second, first := range flowerCopies {
		if tests[first] != (first%10 == 0) || tests[second] != tests[first] {
			t.Errorf("%d to test: %v, %d: %v, want both on the side of the first", first, tests[first], second, tests[second])
		}
	}
}

// The numbers of photographs are those of https://www.robots.ox.ac.uk/~vgg/data/flowers/102/categories.html, where no kind
// has fewer than 40 or more than 258.
func TestFlowerLabels(t *testing.T) {
	var labels []int
	for i, run := range flowers102.runs {
		if run.photographs < 1 || i > 0 && run.label == flowers102.runs[i-1].label {
			t.Errorf("run %d is %v after %v", i, run, flowers102.runs[i-1])
		}
		labels = append(labels, slices.Repeat([]int{run.label - 1}, run.photographs)...)
	}
	if len(labels) != flowers102.images {
		t.Fatalf("%d labels, want %d", len(labels), flowers102.images)
	}
	count := make([]int, flowers102.kinds)
	for _, l := range labels {
		count[l]++ // panics if there is no such kind
	}
	if a, b := slices.Min(count), slices.Max(count); a != 40 || b != 258 {
		t.Errorf("from %d to %d photographs of a kind, want from 40 to 258", a, b)
	}
	for label, want := range map[int]int{1: 40, 21: 40, 46: 196, 51: 258, 73: 194, 77: 251} { // pink primrose, fire lily, wallflower, petunia, water lily, passion flower
		if got := count[label-1]; got != want {
			t.Errorf("%d photographs of kind %d, want %d", got, label, want)
		}
	}
	for second, first := range flowerCopies {
		if labels[first-1] != labels[second-1] {
			t.Errorf("%d and %d are one photograph, of kinds %d and %d", first, second, labels[first-1], labels[second-1])
		}
	}
	// That of a labels.csv in use before the labels were kept here.
	const want = "21a5056163f88631fffe7ea704d6c8496590054311b48dabc364e18345f5dd32"
	if got := sum(flowers102.table()); got != want {
		t.Errorf("labels.csv has SHA-256 %s, want %s", got, want)
	}
}

func TestFlowerOriginals(t *testing.T) {
	if got := flowerName(1) + flowerName(8189); got != "image_00001.jpgimage_08189.jpg" {
		t.Error(got)
	}
	for _, m := range flowersSet.mirrors {
		if !strings.HasPrefix(m, "https://") || !strings.HasSuffix(m, "/") {
			t.Errorf("mirror %q, want https://…/", m)
		}
	}
	if b := crop(image.NewGray(image.Rect(0, 0, 1, 3000)), 64).Bounds(); b != image.Rect(0, 0, 64, 64) {
		t.Error(b)
	}
}
