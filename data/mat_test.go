package data

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What SciPy 1.17.1 writes, after the header, of a matrix x of floats, labels = [77 77 1 102 62] and id = [3; 4], both
// of bytes: savemat, without and with do_compression.
const (
	scipyPlain = "0e00000040000000060000000800000006000000000000000500000008000000010000000200000001000100780000000900000010000000000000000000f83f0000000000000040" +
		"0e00000040000000060000000800000009000000000000000500000008000000010000000500000001000000060000006c6162656c73000002000000050000004d4d01663e000000" +
		"0e00000030000000060000000800000009000000000000000500000008000000020000000100000001000200696400000200020003040000"
	scipyPacked = "0f0000002c000000789ce36360607000623620e680d220c00ae533023113986664a800d29c402cc000033feca10c07003845027d" +
		"0f00000031000000789ce36360607000623620e600624e06086085f219a16c46a89a9cc4a4d49c62060626a8b8af2f639a1d9006005ae40439" +
		"0f0000002a000000789ce36360603000623620e600624e06086085f2998098118c99183253407c260666160606001c4c0141"
)

func matHeader() []byte { return append(bytes.Repeat([]byte(" "), 124), "\x00\x01IM"...) }

func element(kind uint32, b []byte) []byte {
	out := binary.LittleEndian.AppendUint32(nil, kind)
	out = append(binary.LittleEndian.AppendUint32(out, uint32(len(b))), b...)
	for kind != matCompressed && len(out)%8 > 0 {
		out = append(out, 0)
	}
	return out
}

// matrix is a matrix in a MATLAB file, of bytes if class is that of bytes.
func matrix(class byte, name string, elements []byte, dims ...int32) []byte {
	var shape []byte
	for _, d := range dims {
		shape = binary.LittleEndian.AppendUint32(shape, uint32(d))
	}
	return element(matMatrix, slices.Concat(element(6, []byte{class, 0, 0, 0, 0, 0, 0, 0}), element(5, shape), element(1, []byte(name)), element(matBytes, elements)))
}

func compressed(b []byte) []byte {
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	w.Write(b)
	w.Close()
	return element(matCompressed, out.Bytes())
}

func TestReadMAT(t *testing.T) {
	for name, body := range map[string]string{"plain": scipyPlain, "compressed": scipyPacked} {
		b, err := hex.DecodeString(body)
		if err != nil {
			t.Fatal(err)
		}
		file := append(matHeader(), b...)
		for matrix, want := range map[string]struct {
			dims     []int
			elements []byte
		}{
			"labels": {[]int{1, 5}, []byte{77, 77, 1, 102, 62}},
			"id":     {[]int{2, 1}, []byte{3, 4}},
		} {
			dims, elements, err := readMAT(bytes.NewReader(file), matrix)
			if err != nil {
				t.Errorf("%s, %s: %v", name, matrix, err)
			} else if d := cmp.Diff(want.dims, dims) + cmp.Diff(want.elements, elements); d != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, matrix, d)
			}
		}
		// No beginning of a file passes for the file, up to the last matrix, whose padding may be missing.
		for n := range len(file) - 4 {
			if _, _, err := readMAT(bytes.NewReader(file[:n]), "id"); err == nil {
				t.Errorf("%s: no error for the first %d of %d bytes", name, n, len(file))
			}
		}
	}
}

func TestReadMATErrors(t *testing.T) {
	labels := matrix(matUint8Class, "labels", []byte{7, 8, 9}, 1, 3)
	altered := compressed(labels)
	altered[len(altered)-1] ^= 1
	announced := element(matMatrix, nil)
	binary.LittleEndian.PutUint32(announced[4:], 1<<32-1)
	for _, c := range []struct {
		name string
		body []byte
		want []string
	}{
		{"nothing", nil, []string{"got matrices []", `"labels"`}},
		{"another matrix", matrix(matUint8Class, "setid", nil, 0, 0), []string{`got matrices ["setid"]`, `"labels"`}},
		{"floats", matrix(6, "labels", []byte{7}, 1, 1), []string{"matrix labels", "flags 06", "class 9"}},
		{"too few elements", matrix(matUint8Class, "labels", []byte{7, 8}, 1, 3), []string{"got 2 elements, expected 3", "[1 3]"}},
		{"negative", matrix(matUint8Class, "labels", nil, -1, 3), []string{"dimensions [-1]"}},
		{"overflow", matrix(matUint8Class, "labels", nil, 1<<30, 1<<30, 16), []string{"at most 1048576 elements"}},
		{"half a dimension", element(matMatrix, slices.Concat(element(6, []byte{9}), element(5, []byte{1, 0, 0, 0, 1, 0}), element(1, []byte("labels")), element(matBytes, nil))),
			[]string{"dimensions 01 00 00 00 01 00", "4 bytes"}},
		{"no parts", element(matMatrix, nil), []string{"part 1 of a matrix", "truncated"}},
		{"4 GB announced", announced, []string{"got 0 of 4294967295 bytes", "truncated"}},
		{"full tag", []byte{matBytes, 0, 5, 0, 1, 2, 3, 4}, []string{"got 5 bytes in a tag, expected at most 4"}},
		{"no zlib", element(matCompressed, []byte("labels")), []string{"compressed element", "zlib: invalid header"}},
		{"wrong sum", altered, []string{"compressed element", "zlib: invalid checksum"}},
		{"unpacks to much", compressed(make([]byte, maxMAT+1)), []string{"compressed element", "goes on after"}},
		{"long", make([]byte, maxMAT+1), []string{"goes on after"}},
	} {
		_, _, err := readMAT(bytes.NewReader(append(matHeader(), c.body...)), "labels")
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: err = %v, want %q in it", c.name, err, want)
			}
		}
	}
	for name, file := range map[string]string{
		"web page":   strings.Repeat("<html>404", 20),
		"big-endian": string(matHeader()[:124]) + "\x01\x00MI",
	} {
		if _, _, err := readMAT(strings.NewReader(file), "labels"); err == nil || !strings.Contains(err.Error(), "little-endian MATLAB file of level 5") {
			t.Errorf("%s: err = %v, want what kind of file is expected", name, err)
		}
	}
	if _, _, err := readMAT(io.LimitReader(bytes.NewReader(matHeader()), 100), "labels"); err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("err = %v, want the header in it", err)
	}
}
