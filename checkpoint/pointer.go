package checkpoint

import (
	"fmt"
	"io"
	"strings"
)

// pointerBegin is what a pointer of Git LFS begins with: a small text that stands in a repository in place of a large file.
const pointerBegin = "version https://git-lfs.github.com/spec/"

// pointer returns an error if a file is such a text, which says how large the file itself is.
func pointer(r io.ReaderAt, size int64) error {
	b := make([]byte, min(size, 1024))
	if _, err := r.ReadAt(b, 0); err != nil && err != io.EOF {
		return err
	}
	text := string(b)
	if !strings.HasPrefix(text, pointerBegin) {
		return nil
	}
	whole := ""
	if _, after, ok := strings.Cut(text, "\nsize "); ok {
		n, _, _ := strings.Cut(after, "\n")
		whole = fmt.Sprintf(" of %s bytes", n)
	}
	return corrupt("it is a Git LFS pointer, a text of %d bytes in place of the file%s: git lfs pull fetches the file itself", size, whole)
}
