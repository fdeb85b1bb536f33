package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// flowers DIR writes a set of flowers that all look the same.
func plantFlowers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flowers DIR")
	}
	var picture, images bytes.Buffer
	ts.Check(jpeg.Encode(&picture, image.NewGray(image.Rect(0, 0, 64, 64)), nil))
	labels, archive := []byte("file,label\n"), tar.NewWriter(&images)
	for number := 1; number <= 8189; number++ {
		name := fmt.Sprintf("image_%05d.jpg", number)
		labels = fmt.Appendf(labels, "%s,%d\n", name, 1+number%102)
		ts.Check(archive.WriteHeader(&tar.Header{Name: name, Size: int64(picture.Len()), Mode: 0o666}))
		_, err := archive.Write(picture.Bytes())
		ts.Check(err)
	}
	ts.Check(archive.Close())
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o777))
	ts.Check(os.WriteFile(filepath.Join(dir, "images.tar"), images.Bytes(), 0o666))
	ts.Check(os.WriteFile(filepath.Join(dir, "labels.csv"), labels, 0o666))
}
