//go:build !unix || aix || solaris

package runfolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// acquire makes a file, which is the lock. It fails with [errLocked] if there is one, even if its process was killed.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%w (remove LOCK if it is gone)", errLocked)
	}
	return f, err
}

// release removes the file.
func release(f *os.File) error { return errors.Join(f.Close(), os.Remove(f.Name())) }

// alive reports whether there is a process, where that can be told.
func alive(pid int) bool {
	_, err := os.FindProcess(pid)
	return err == nil
}
