package report

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Notes that are added to a picture come back as they were, beside those that it had, and the picture stays as it was.
func TestAnnotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.png")
	m := image.NewGray(image.Rect(0, 0, 5, 3))
	m.Pix[4] = 77
	had, added := []Note{{"prompt", "two dogs"}}, []Note{{"run", "a"}, {"name", "Käse"}, {"empty", ""}, {"zero", "a\x00b"}}
	if err := Photo(path, m, had); err != nil {
		t.Fatal(err)
	}
	if err := Annotate(path, added); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Notes(bytes.NewReader(data))
	if err != nil || !slices.Equal(got, append(added, had...)) {
		t.Errorf("notes %q, %v", got, err)
	}
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil || picture.Bounds() != m.Bounds() || picture.(*image.Gray).Pix[4] != 77 {
		t.Errorf("the picture is %v, %v", picture, err)
	}

	// Text of others that is compressed or has no end is passed over; what is damaged is told.
	other := slices.Concat(data[:ihdrEnd], chunk("iTXt", []byte("key\x00\x01\x00\x00\x00packed")), chunk("tEXt", []byte("no end")), chunk("iTXt", []byte("key\x00\x00\x00")), data[ihdrEnd:])
	if got, err := Notes(bytes.NewReader(other)); err != nil || len(got) != 5 {
		t.Errorf("with chunks of others: %q, %v", got, err)
	}
	damaged := bytes.Replace(data, []byte("two dogs"), []byte("two cats"), 1)
	for text, words := range map[string]string{"": "PNG files only", "GIF89a..": "PNG files only", string(data[:60]): "truncated", string(data[:len(data)-9]): "truncated", string(damaged): "sum"} {
		if got, err := Notes(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%d bytes: %q, error %v, want one with %q", len(text), got, err, words)
		}
	}
	none := filepath.Join(t.TempDir(), "none.png")
	if err := os.WriteFile(none, []byte("no picture, but as long as the first chunk of one"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Annotate(none, added); err == nil || !strings.Contains(err.Error(), "is no PNG") {
		t.Errorf("a text: %v", err)
	}
	if err := Annotate(none+"x", added); err == nil {
		t.Error("no error for a file that is not there")
	}
}
