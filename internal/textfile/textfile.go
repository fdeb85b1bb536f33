// Package textfile reads files that people and programs have written as text: UTF-8, whose mark at the beginning, if there is one, is no part of it.
package textfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// mark is U+FEFF in UTF-8, which some editors write before the text.
const mark = "\ufeff"

// pointerBegin is what a pointer of Git LFS begins with: a small text that stands in a repository in place of a large file.
const pointerBegin = "version https://git-lfs.github.com/spec/"

// head is how much of a file is looked at: pointers have fewer bytes.
const head = 1024

// Read returns the text of a file. One in UTF-16, or a pointer of Git LFS in its place, is an error.
func Read(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if b, err = Plain(b); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// Plain is [Read] of a file that is in memory.
func Plain(b []byte) ([]byte, error) {
	if err := Pointer(b, int64(len(b))); err != nil {
		return nil, err
	}
	if bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")) {
		return nil, errors.New("it is text in UTF-16, want UTF-8: save it in that encoding")
	}
	return bytes.TrimPrefix(b, []byte(mark)), nil
}

// NewReader is [Read] of a file that is not read at once.
func NewReader(r io.Reader) (io.Reader, error) {
	text := bufio.NewReader(r)
	begin, _ := text.Peek(head) // an error comes again where it belongs
	plain, err := Plain(begin)
	if err == nil {
		_, err = text.Discard(len(begin) - len(plain))
	}
	return text, err
}

// Pointer returns an error if a file of size bytes, whose beginning is given, is a pointer of Git LFS: it says how large the file itself is.
func Pointer(begin []byte, size int64) error {
	text := string(begin[:min(head, len(begin))])
	if !strings.HasPrefix(text, pointerBegin) {
		return nil
	}
	whole := ""
	if _, after, ok := strings.Cut(text, "\nsize "); ok {
		n, _, _ := strings.Cut(after, "\n")
		whole = fmt.Sprintf(" of %s bytes", n)
	}
	return fmt.Errorf("it is a Git LFS pointer, a text of %d bytes in place of the file%s: git lfs pull fetches the file itself", size, whole)
}
