package vision

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestOpen(t *testing.T) {
	p, err := Open(golden.Path("pictures/1.png"))
	if want := picture(t, "1.png"); err != nil || p.Height != want.Height || p.Width != want.Width || !slices.Equal(p.Pixels, want.Pixels) {
		t.Errorf("another picture, %d×%d; err = %v", p.Width, p.Height, err)
	}
	dir := t.TempDir()
	_, err = Open(filepath.Join(dir, "none.png"))
	oracle.WantError(t, err, "none.png", "no such file")
	whole := golden.Read(t, "pictures/1.png")
	for name, b := range map[string][]byte{"cut.png": whole[:len(whole)/2], "text.png": []byte("a text"), "empty.png": nil} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		_, err = Open(path)
		oracle.WantError(t, err, path, "PNG, JPEG or GIF")
	}
}
