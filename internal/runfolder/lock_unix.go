//go:build unix && !aix && !solaris

package runfolder

import (
	"errors"
	"os"
	"syscall"
)

// acquire opens a file, or makes it, and locks it until it is closed or this process ends, however it ends. What the file
// holds is left as it is. It fails with [errLocked] while another process, or another part of this one, has the lock.
func acquire(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if there, err := os.Stat(path); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close() // removed by its owner after it was opened here: that lock keeps nobody out
	}
}

func flock(f *os.File) error {
	for {
		switch err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err {
		case syscall.EINTR:
		case syscall.EWOULDBLOCK:
			return errLocked
		case nil:
			return nil
		default:
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// release removes a file while it is locked, and then the lock.
func release(f *os.File) error { return errors.Join(os.Remove(f.Name()), f.Close()) }

// alive reports whether there is a process.
func alive(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || err == syscall.EPERM
}
