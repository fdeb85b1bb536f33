package own

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// digest is the hash of files, and of all files in folders, with their names.
func digest(paths ...string) (string, error) {
	sum := sha256.New()
	for _, path := range paths {
		root, err := filepath.EvalSymlinks(path)
		if err != nil {
			return "", err
		}
		err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			fmt.Fprintln(sum, filepath.ToSlash(name))
			return add(sum, file)
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:12]), nil
}

// add writes the hash of a file.
func add(to io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	each := sha256.New()
	_, err = io.Copy(each, f)
	_, wrote := to.Write(each.Sum(nil))
	return errors.Join(err, wrote, f.Close())
}
