package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func small() File {
	return File{
		Tensors: map[string]Tensor{
			"b": {Shape: []int{2, 1}, F32: []float32{1, -2.5}},
			"a": {Shape: nil, F32: []float32{float32(math.Inf(1))}},
			"z": {Shape: []int{1}, I64: []int64{-1}},
			"y": {Shape: []int{1}, F64: []float64{math.Pi}},
			"e": {Shape: []int{0, 3}},
			"h": {Shape: []int{1}, F16: []Float16{1}},
			"w": {Shape: []int{3}, BF16: []BFloat16{0x3f80, 0x8000, 0x7fc1}},
			"g": {Shape: []int{1}, BF16: []BFloat16{0x3f80}},
		},
		Metadata: map[string]string{"step": "12", "<&>": "\"é\"\n"},
	}
}

// With "step" as its only metadata key this is byte for byte what Python's safetensors 0.8 writes for the same tensors;
// several keys it writes in no fixed order.
const goldenHeader = `{"__metadata__":{"<&>":"\"é\"\n","step":"12"},"z":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},` +
	`"y":{"dtype":"F64","shape":[1],"data_offsets":[8,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[16,20]},` +
	`"b":{"dtype":"F32","shape":[2,1],"data_offsets":[20,28]},"e":{"dtype":"F32","shape":[0,3],"data_offsets":[28,28]},` +
	`"g":{"dtype":"BF16","shape":[1],"data_offsets":[28,30]},"w":{"dtype":"BF16","shape":[3],"data_offsets":[30,36]},` +
	`"h":{"dtype":"F16","shape":[1],"data_offsets":[36,38]}}`

const goldenData = "ffffffffffffffff" + "182d4454fb210940" + "0000807f" + "0000803f000020c0" + "803f" + "803f0080c17f" + "0100"

func golden(t testing.TB) []byte {
	head := goldenHeader + strings.Repeat(" ", -len(goldenHeader)&7)
	data, err := hex.DecodeString(goldenData)
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head+string(data)...)
}

func saved(t testing.TB, f File) []byte {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := Save(path, f); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenBytes(t *testing.T) {
	if d := cmp.Diff(string(golden(t)), string(saved(t, small()))); d != "" {
		t.Errorf("bytes (-want +got):\n%s", d)
	}
	empty := append([]byte{8, 0, 0, 0, 0, 0, 0, 0}, "{}      "...)
	if got := saved(t, File{}); !bytes.Equal(got, empty) {
		t.Errorf("empty file = %q, want %q", got, empty)
	}
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		want := genFile(t)
		path := filepath.Join(dir, "x.safetensors")
		if err := Save(path, want); err != nil {
			t.Fatal(err)
		}
		got, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		// NaN payloads must survive too, so floats are compared as bits.
		bits32 := cmp.Comparer(func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
		bits64 := cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
		if d := cmp.Diff(want, got, bits32, bits64); d != "" {
			t.Fatalf("file (-saved +loaded):\n%s", d)
		}
	})
}

func genFile(t *rapid.T) File {
	text := rapid.String()
	return File{
		Metadata: rapid.MapOfN(text, text, 0, 3).Draw(t, "metadata"),
		Tensors: rapid.MapOfN(text.Filter(func(s string) bool { return s != metadataKey }), rapid.Custom(func(t *rapid.T) Tensor {
			shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 3).Draw(t, "shape")
			n, _ := elements(shape)
			x := Tensor{Shape: shape}
			switch rapid.IntRange(0, 4).Draw(t, "dtype") {
			case 0:
				x.F32 = make([]float32, n)
				for i := range x.F32 {
					x.F32[i] = math.Float32frombits(rapid.Uint32().Draw(t, "bits"))
				}
			case 1:
				x.F64 = make([]float64, n)
				for i := range x.F64 {
					x.F64[i] = math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
				}
			case 2:
				x.I64 = rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "values")
			case 3:
				x.F16 = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Float16 { return Float16(rapid.Uint16().Draw(t, "bits")) }), n, n).Draw(t, "values")
			case 4:
				x.BF16 = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) BFloat16 { return BFloat16(rapid.Uint16().Draw(t, "bits")) }), n, n).Draw(t, "values")
			}
			return x
		}), 0, 5).Draw(t, "tensors"),
	}
}

func TestLargeTensorsCrossChunks(t *testing.T) {
	want := File{Tensors: map[string]Tensor{"w": {Shape: []int{3, chunk}, F32: make([]float32, 3*chunk)}}, Metadata: map[string]string{}}
	for i := range want.Tensors["w"].F32 {
		want.Tensors["w"].F32[i] = float32(i)
	}
	b := saved(t, want)
	got, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("tensor of %d chunks differs after a round trip; err = %v", 3*4, err)
	}
}

func TestTruncationIsCorrupt(t *testing.T) {
	whole := golden(t)
	path := filepath.Join(t.TempDir(), "x.safetensors")
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Fatalf("first %d of %d bytes: err = %v, want ErrCorrupt naming the file", n, len(whole), err)
		}
		// As if the file shrank after its size was taken.
		if _, err := Read(bytes.NewReader(whole[:n]), int64(len(whole))); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("first %d of %d bytes, whole size: err = %v, want ErrCorrupt", n, len(whole), err)
		}
	}
}

// raw builds a file from a header and a number of data bytes.
func raw(head string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(head)))
	return append(append(b, head...), make([]byte, data)...)
}

func TestMalformed(t *testing.T) {
	const ok = `"dtype":"F32","shape":[1],"data_offsets":[0,4]`
	for _, c := range []struct {
		name, head string
		data       int
		want       string // part of the message
	}{
		{"bytes after the data", `{"a":{` + ok + `}}`, 5, "bytes after the last tensor"},
		{"data without tensors", `{}`, 1, "bytes after the last tensor"},
		{"hole", `{"a":{` + ok + `},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, 12, "follow each other"},
		{"overlap", `{"a":{` + ok + `},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, 6, "follow each other"},
		{"past the end", `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 4, "truncated"},
		{"reversed", `{"a":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}}`, 4, "begins at"},
		{"shape too small", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}`, 8, "expected those of F32[1]"},
		{"shape overflows", `{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0, "expected those"},
		{"shape overflows to the size", `{"a":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}}`, 0, "expected those"},
		{"negative dimension", `{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4, "not negative"},
		{"fractional dimension", `{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}`, 4, "not negative"},
		{"huge offset", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,99999999999999999999]}}`, 4, "not negative"},
		{"three offsets", `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}`, 4, "expected 2"},
		{"null shape", `{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}`, 4, "expected ["},
		{"missing dtype", `{"a":{"shape":[1],"data_offsets":[0,4]}}`, 4, "expected dtype, shape and data_offsets"},
		{"unknown key", `{"a":{` + ok + `,"x":1}}`, 4, `unknown key "x"`},
		{"letter case", `{"a":{"DType":"F32","shape":[1],"data_offsets":[0,4]}}`, 4, "unknown key"},
		{"tensor twice", `{"a":{` + ok + `},"a":{` + ok + `}}`, 4, `"a" appears twice`},
		{"key twice", `{"a":{` + ok + `,"dtype":"F32"}}`, 4, `"dtype" appears twice`},
		{"metadata twice", `{"__metadata__":{},"__metadata__":{}}`, 0, "appears twice"},
		{"metadata key twice", `{"__metadata__":{"k":"1","k":"2"}}`, 0, `"k" appears twice`},
		{"metadata number", `{"__metadata__":{"k":1}}`, 0, "expected a string"},
		{"no JSON", `hello`, 0, "invalid character"},
		{"array", `[]`, 0, "expected {"},
		{"empty header", ``, 0, "EOF"},
		{"unclosed", `{"a":{` + ok + `}`, 4, "EOF"},
		{"trailing comma", `{"a":{` + ok + `},}`, 4, "invalid character"},
		{"two objects", `{}{}`, 0, "expected only spaces"},
		{"bad UTF-8", "{\"\xff\":{" + ok + `}}`, 4, "UTF-8"},
	} {
		b := raw(c.head, c.data)
		_, err := Read(bytes.NewReader(b), int64(len(b)))
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want ErrCorrupt and %q", c.name, err, c.want)
		}
	}
}

func TestHugeHeaderLengthAllocatesNothing(t *testing.T) {
	for _, n := range []uint64{math.MaxUint64, 1 << 63, maxHeader + 1, maxHeader, 9} {
		b := binary.LittleEndian.AppendUint64(nil, n)
		b = append(b, "{}      "...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Read(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("header length %d: err = %v, want ErrCorrupt", n, err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("header length %d: allocated %d bytes", n, got)
		}
	}
}

func TestUnknownDType(t *testing.T) {
	for _, d := range []string{"BOOL", "U8", "F8_E4M3", "I32", "U64", "f32", ""} {
		b := raw(`{"a":{"dtype":"`+d+`","shape":[1],"data_offsets":[0,2]}}`, 2)
		_, err := Read(bytes.NewReader(b), int64(len(b)))
		if !errors.Is(err, ErrDType) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `tensor "a"`) || !strings.Contains(err.Error(), `"`+d+`"`) {
			t.Errorf("err = %v, want ErrDType only, with tensor and dtype %q", err, d)
		}
	}
}

func TestSaveRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	for name, f := range map[string]File{
		"too few elements": {Tensors: map[string]Tensor{"a": {Shape: []int{2}, F32: []float32{1}}}},
		"zero tensor":      {Tensors: map[string]Tensor{"a": {}}},
		"two dtypes":       {Tensors: map[string]Tensor{"a": {Shape: []int{1}, F32: []float32{1}, I64: []int64{1}}}},
		"two halves":       {Tensors: map[string]Tensor{"a": {Shape: []int{1}, F16: []Float16{1}, BF16: []BFloat16{1}}}},
		"empty and not":    {Tensors: map[string]Tensor{"a": {Shape: []int{1}, F32: []float32{}, F16: []Float16{1}}}},
		"negative shape":   {Tensors: map[string]Tensor{"a": {Shape: []int{-1, -1}, F32: []float32{1}}}},
		"reserved name":    {Tensors: map[string]Tensor{metadataKey: {Shape: []int{0}}}},
		"bad name":         {Tensors: map[string]Tensor{"\xff": {Shape: []int{0}}}},
		"bad metadata":     {Metadata: map[string]string{"k": "\xff"}},
	} {
		if err := Save(path, f); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: err = %v, want one naming the file", name, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: left a file behind", name)
		}
	}
}

func TestLoadMissing(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: err = %v, want fs.ErrNotExist", err)
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a folder loaded without an error")
	}
}

func TestUnwritableFolder(t *testing.T) {
	dir := t.TempDir()
	if err := Save(filepath.Join(dir, "none", "x"), small()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: err = %v, want fs.ErrNotExist", err)
	}
	if os.Geteuid() == 0 {
		t.Skip("root writes everywhere")
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := Save(filepath.Join(dir, "x"), small()); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("read-only folder: err = %v, want fs.ErrPermission", err)
	}
}

func TestFailedWriteKeepsTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := Save(path, small()); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left on device")
	err := atomicfile.WriteFunc(path, func(w io.Writer) error {
		if _, err := w.Write([]byte("half")); err != nil {
			t.Fatal(err)
		}
		return full
	})
	if !errors.Is(err, full) {
		t.Errorf("err = %v, want %v", err, full)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, golden(t)) {
		t.Errorf("old file changed; err = %v", err)
	}
	// A folder in the way makes the rename itself fail, after everything is written.
	block := filepath.Join(dir, "block")
	if err := os.MkdirAll(filepath.Join(block, "child"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Save(block, small()); err == nil {
		t.Error("saving over a folder gave no error")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("folder holds %v, want only x and block; err = %v", left, err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(golden(f))
	f.Add(raw(`{}`, 0))
	f.Add([]byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"))
	f.Add(raw(`{"a":{"dtype":"F64","shape":[2,0],"data_offsets":[0,0]}}`, 0))
	f.Add(raw(`{"__metadata__":{"k":"v"},"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}  `, 8))
	f.Add(raw(`{"a":{"dtype":"F16","shape":[1,1],"data_offsets":[2,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}`, 4))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Read(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrDType) {
				t.Fatalf("err = %v, want ErrCorrupt or ErrDType", err)
			}
			return
		}
		for name, x := range file.Tensors {
			if v, err := x.Float32s(); err == nil == (x.DType() == I64) || err == nil && len(v) != len(x.F16)+len(x.BF16)+len(x.F32)+len(x.F64) {
				t.Fatalf("%q of %s has %d values; err = %v", name, x.DType(), len(v), err)
			}
		}
		// Whatever loads must save, and from then on keep its bytes.
		once := saved(t, file)
		again, err := Read(bytes.NewReader(once), int64(len(once)))
		if err != nil {
			t.Fatal(err)
		}
		if twice := saved(t, again); !bytes.Equal(once, twice) {
			t.Errorf("saved %q, then %q", once, twice)
		}
	})
}

// What is written to a writer is what Save writes to a file, and refused as Save refuses it.
func TestWrite(t *testing.T) {
	f := File{Tensors: map[string]Tensor{"b": {Shape: []int{2}, F32: []float32{1, -2}}, "a": {Shape: []int{1}, I64: []int64{7}}}, Metadata: map[string]string{"prompt": "ä <b>"}}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := Save(path, f); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := Write(&got, f); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes, %v, want the %d bytes of the file", got.Len(), err, len(want))
	}
	f.Tensors["a"] = Tensor{Shape: []int{2}, I64: []int64{7}}
	if err := Write(&got, f); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("a tensor that lacks numbers: error %v", err)
	}
}
