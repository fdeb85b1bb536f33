package smallworld

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/internal/atomicfile"
)

//go:embed model reward held-out clip checker
var trained embed.FS

// Extract writes the small world that is part of the program to the store of data, where it is not there already, and returns its folder.
func Extract() (string, error) {
	files := map[string][]byte{}
	sum := sha256.New()
	err := fs.WalkDir(trained, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := trained.ReadFile(path)
		files[path] = text
		fmt.Fprintf(sum, "%s %d\n", path, len(text))
		sum.Write(text)
		return err
	})
	if err != nil {
		return "", err
	}
	dir, err := data.Dir("smallworld-" + hex.EncodeToString(sum.Sum(nil))[:12])
	if err != nil {
		return "", err
	}
	for path, text := range files {
		to := filepath.Join(dir, filepath.FromSlash(path))
		if there, err := os.ReadFile(to); err == nil && bytes.Equal(there, text) {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return "", fmt.Errorf("smallworld: %w", err)
		}
		if err := atomicfile.Write(to, text); err != nil {
			return "", fmt.Errorf("smallworld: %w", err)
		}
	}
	return dir, nil
}
