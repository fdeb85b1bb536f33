package runfolder

import (
	"fmt"
	"os"
	"path/filepath"
)

// Temporary makes a folder for what nobody needs after this process, among the system's temporary ones, and returns what removes it. Folders with the same
// beginning of the name that processes have left which were killed are removed first; where locks outlive their processes, they stay.
func Temporary(name string) (path string, remove func() error, err error) {
	sweep(name)
	for range 3 { // whoever sweeps may take a folder for left over that has no lock yet
		var lock *os.File
		if path, err = os.MkdirTemp("", name); err != nil {
			break
		}
		if lock, err = acquire(filepath.Join(path, "LOCK")); err == nil {
			return path, func() error { return discard(path, lock) }, nil
		}
		os.RemoveAll(path)
	}
	return "", nil, fmt.Errorf("temporary folder: %w", err)
}

// sweep removes what is left over. What cannot be removed, such as another user's, stays.
func sweep(name string) {
	locks, _ := filepath.Glob(filepath.Join(os.TempDir(), name+"*", "LOCK"))
	for _, file := range locks {
		if lock, err := acquire(file); err == nil {
			discard(filepath.Dir(file), lock)
		}
	}
}

// discard removes a folder while it is locked, and then what systems keep that remove no open files.
func discard(path string, lock *os.File) error {
	os.RemoveAll(path)
	lock.Close()
	return os.RemoveAll(path)
}
