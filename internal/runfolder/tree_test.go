package runfolder

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// tree lists the files below dir, with their contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if d.IsDir() {
			files[filepath.ToSlash(name)+"/"] = ""
			return err
		}
		files[filepath.ToSlash(name)] = oracle.Read(t, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !os.IsNotExist(err)
}
