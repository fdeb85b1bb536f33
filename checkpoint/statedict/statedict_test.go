package statedict

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/golden"
)

// The same tensors as .pt and as .safetensors.
func TestAgainstSafetensors(t *testing.T) {
	for _, name := range []string{"imagereward/ImageReward", "statedict/odd"} {
		want, err := checkpoint.Open(golden.Path(name + ".safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		defer want.Close()
		got, err := Open(golden.Path(name + ".pt"))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.Names(), got.Names()); d != "" {
			t.Errorf("%s: names (-want +got):\n%s", name, d)
		}
		var wait sync.WaitGroup
		for _, tensor := range want.Names() {
			wait.Go(func() {
				a, errA := want.Tensor(tensor)
				b, errB := got.Tensor(tensor)
				if d := cmp.Diff(a, b); errA != nil || errB != nil || d != "" {
					t.Errorf("%s %s: %v, %v (-want +got):\n%s", name, tensor, errA, errB, d)
				}
				infoA, _ := want.Info(tensor)
				infoB, ok := got.Info(tensor)
				if d := cmp.Diff(infoA, infoB); !ok || d != "" {
					t.Errorf("%s %s (-want +got):\n%s", name, tensor, d)
				}
			})
		}
		wait.Wait()
		if _, err := got.Tensor("x"); err == nil || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("err = %v", err)
		}
		if got.Path() != golden.Path(name+".pt") {
			t.Errorf("path %s", got.Path())
		}
		if err := got.Close(); err != nil {
			t.Error(err)
		}
		if _, err := got.Tensor(got.Names()[1]); err == nil {
			t.Error("a tensor from a closed file")
		}
	}
}

func wantError(t testing.TB, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("err = %v, want %v", err, kind)
	}
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("err = %v, want %q in it", err, w)
		}
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	for name, words := range map[string][]string{
		"imagereward/refuse.pt":               {"GLOBAL", `"print"`, `"builtins"`, "byte "},
		"statedict/legacy.pt":                 {"1.6"},
		"statedict/module.pt":                 {"GLOBAL", `"Linear"`, "torch.nn.modules.linear"},
		"imagereward/ImageReward.safetensors": {"no zip"},
	} {
		_, err := Open(golden.Path(name))
		wantError(t, err, ErrRefused, append(words, golden.Path(name))...)
	}
	_, err := Open(filepath.Join(t.TempDir(), "x.pt"))
	wantError(t, err, fs.ErrNotExist)
	_, err = Open(t.TempDir())
	wantError(t, err, err, "regular file")
}

// archive zips members, none compressed.
func archive(t testing.TB, members ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		f, err := w.CreateHeader(&zip.FileHeader{Name: m[0], Method: zip.Store})
		if err == nil {
			_, err = io.WriteString(f, m[1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// view is a pickle of {"w": a view of storage 0, which has count numbers}.
func view(class, count, offset, shape, strides string) string {
	return "\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n" + class +
		"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + count + "tQ" + offset + "(" + shape + "t(" + strides + "t\x89ccollections\nOrderedDict\n)RtRs."
}

func read(b []byte) (checkpoint.Tensor, error) {
	f, err := newFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return checkpoint.Tensor{}, err
	}
	return f.Tensor("w")
}

func TestArchives(t *testing.T) {
	four := view("FloatStorage", "K\x04", "K\x01", "K\x03", "K\x01")
	data := "\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x00\x00\x80\x40"
	want := checkpoint.Tensor{Shape: []int{3}, F32: []float32{2, 3, 4}}
	for _, prefix := range []string{"archive/", "ImageReward/", ""} {
		got, err := read(archive(t, [2]string{prefix + "data.pkl", four}, [2]string{prefix + "data/0", data}, [2]string{prefix + "byteorder", "little"}))
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("prefix %q: %v (-want +got):\n%s", prefix, err, d)
		}
	}
	for name, c := range map[string]struct {
		members [][2]string
		kind    error
		want    string
	}{
		"no pickle":    {[][2]string{{"a/data/0", data}}, ErrCorrupt, "data.pkl"},
		"no storage":   {[][2]string{{"a/data.pkl", four}}, ErrCorrupt, `no storage "0"`},
		"too short":    {[][2]string{{"a/data.pkl", four}, {"a/data/0", data[1:]}}, ErrCorrupt, "has 15 bytes"},
		"too long":     {[][2]string{{"a/data.pkl", four}, {"a/data/0", data + "x"}}, ErrCorrupt, "has 17 bytes"},
		"big endian":   {[][2]string{{"a/data.pkl", four}, {"a/data/0", data}, {"a/byteorder", "big"}}, ErrRefused, "byte order"},
		"twice":        {[][2]string{{"a/data.pkl", four}, {"a/data/0", data}, {"a/data/0", data}}, ErrCorrupt, "twice"},
		"TorchScript":  {[][2]string{{"a/data.pkl", four}, {"a/constants.pkl", ""}}, ErrRefused, "TorchScript"},
		"empty":        {nil, ErrRefused, "no zip"},
		"empty pickle": {[][2]string{{"a/data.pkl", ""}}, ErrCorrupt, "too early"},
	} {
		_, err := read(archive(t, c.members...))
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want %v and %q", name, err, c.kind, c.want)
		}
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	if f, err := w.Create("a/data.pkl"); err != nil {
		t.Fatal(err)
	} else if _, err := io.WriteString(f, four); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := read(b.Bytes())
	wantError(t, err, ErrRefused, "compressed")

	// A byte of the numbers that has changed.
	whole := archive(t, [2]string{"a/data.pkl", four}, [2]string{"a/data/0", data})
	at := bytes.Index(whole, []byte(data))
	whole[at+3] ^= 1
	_, err = read(whole)
	wantError(t, err, ErrCorrupt, "data/0")
}

func TestTruncated(t *testing.T) {
	whole, err := os.ReadFile(golden.Path("statedict/odd.pt"))
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 7 {
		if _, err := newFile(bytes.NewReader(whole[:n]), int64(n)); err == nil {
			t.Fatalf("the first %d of %d bytes are accepted", n, len(whole))
		}
	}
}

// Every byte of a pickle that a state dict does not need is an error that names it, and so is every name.
func TestRefusedOperations(t *testing.T) {
	supported := "\x80c(t)\x85\x86\x87]}KMJ\x8aGXU\x88\x89Nqrhj" + "QRsuaeb."
	for op := range 256 {
		m := &machine{code: make([]byte, 64), memo: map[uint32]any{}, size: func(string) (int64, bool) { return 0, false }}
		err := m.do(byte(op))
		refused := err != nil && strings.Contains(err.Error(), "none such")
		if want := !strings.ContainsRune(latin1(supported), rune(op)); refused != want && op != '.' {
			t.Errorf("operation %s (%#x): err = %v, want refused %t", opName(byte(op)), op, err, want)
		}
	}
	for code, words := range map[string][]string{
		"cos\nsystem\n.":                                  {"GLOBAL", `"system"`, `"os"`},
		"ctorch\nload\n.":                                 {`"load"`},
		"cbuiltins\neval\n.":                              {`"eval"`},
		"ccollections\nOrderedDict \n.":                   {`"OrderedDict "`},
		"ctorch._utils\n_rebuild_tensor\n.":               {`"_rebuild_tensor"`},
		"(S'ls'\nios\nsystem\n.":                          {"operation STRING"},
		"(ios\nsystem\n.":                                 {"operation INST"},
		"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.": {"operation STACK_GLOBAL"},
		")\x81.":                                {"operation NEWOBJ"},
		"\x82\x01.":                             {"operation EXT1"},
		"\x95\x00\x00\x00\x00\x00\x00\x00\x00.": {"operation FRAME"},
		"\xff.":                                 {"0xff"},
		"\x80\x04}.":                            {"protocol 4"},
		"}N\x85R.":                              {"a dictionary of 0"},
		"ctorch\nFloatStorage\n)R.":             {"REDUCE", "FloatStorage"},
		"ccollections\nOrderedDict\n]\x85R.":    {"OrderedDict"},
		"X\x05\x00\x00\x00hello.":               {`"hello"`},
		"}X\x01\x00\x00\x00wK\x01s.":            {`"w" is 1`},
		"}K\x01K\x01s.":                         {"a key is 1"},
		"K\x01Q.":                               {"BINPERSID"},
		"NNb.":                                  {"BUILD", "None"},
		"N]a.":                                  {"APPEND", "None"},
		"\x8a\x09xxxxxxxxx.":                    {"LONG1", "9 bytes"},
	} {
		_, err := stateDict([]byte(code), func(string) (int64, bool) { return 0, true })
		wantError(t, err, ErrRefused, words...)
	}
	for code, words := range map[string][]string{
		".":                      {"empty"},
		"}":                      {"too early"},
		"}}.":                    {"1 values"},
		"(}.":                    {"1 marks"},
		"}(.":                    {"empty"},
		"}.}":                    {"1 bytes"},
		"t.":                     {"no mark"},
		"}(K\x01u.":              {"1 keys"},
		"h\x05.":                 {"remembered as 5"},
		"X\xff\xff\xff\xff.":     {"4294967295"},
		"X\x01\x00\x00\x00\xff.": {"UTF-8"},
		"ctorch":                 {"line"},
		"}X\x00\x00\x00\x00NX\x00\x00\x00\x00N(s.": {"empty"},
		"}(X\x00\x00\x00\x00NX\x00\x00\x00\x00Nu.": {"twice"},
	} {
		_, err := stateDict([]byte(code), func(string) (int64, bool) { return 0, true })
		wantError(t, err, ErrCorrupt, words...)
	}
}

// latin1 makes a rune of every byte.
func latin1(s string) string {
	var runes []rune
	for _, b := range []byte(s) {
		runes = append(runes, rune(b))
	}
	return string(runes)
}

// A view must lie in its storage, and be no larger.
func TestViews(t *testing.T) {
	huge := "\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x40" // 2⁶²
	minus := "J\xff\xff\xff\xff"
	for _, c := range []struct {
		count, offset, shape, strides string
		ok                            bool
	}{
		{"K\x04", "K\x00", "K\x04", "K\x01", true},
		{"K\x04", "K\x00", "K\x02K\x02", "K\x01K\x02", true},
		{"K\x04", "K\x03", "", "", true},
		{"K\x04", "K\x04", "", "", false},
		{"K\x04", "K\x04", "K\x00", "K\x01", true},
		{"K\x04", "K\x05", "K\x00", "K\x01", false},
		{"K\x04", "K\x01", "K\x04", "K\x01", false},
		{"K\x04", "K\x00", "K\x02", "K\x04", false},
		{"K\x04", "K\x00", "K\x04", "K\x00", true},  // expanded, but not beyond the storage
		{"K\x04", "K\x00", "K\x05", "K\x00", false}, // beyond
		{"K\x04", "K\x00", huge, "K\x00", false},
		{"K\x04", "K\x00", huge + huge, "K\x00K\x00", false},
		{"K\x04", "K\x00", huge + "K\x00", "K\x00K\x00", true},
		{"K\x04", "K\x00", "K\x02", huge, false},
		{"K\x04", "K\x00", "K\x02K\x02", "K\x01" + huge, false},
		{"K\x04", huge, "K\x01", "K\x01", false},
		{"K\x04", minus, "K\x01", "K\x01", false},
		{"K\x04", "K\x00", minus, "K\x01", false},
		{"K\x04", "K\x01", "K\x02", minus, false},
		{"K\x04", "K\x00", "K\x02", "K\x01K\x01", false},
		{huge, "K\x00", "K\x02", "K\x01", false},
		{minus, "K\x00", "K\x02", "K\x01", false},
	} {
		b := archive(t, [2]string{"data.pkl", view("FloatStorage", c.count, c.offset, c.shape, c.strides)}, [2]string{"data/0", strings.Repeat("\x00", 16)})
		if _, err := read(b); (err == nil) != c.ok {
			t.Errorf("%+q: err = %v, want ok %t", []string{c.count, c.offset, c.shape, c.strides}, err, c.ok)
		}
	}
}

// A few bytes must not fill the memory.
func TestSmallFilesTakeLittleMemory(t *testing.T) {
	for name, code := range map[string]string{
		"string":       "X\xff\xff\xff\x7f",
		"marks":        strings.Repeat("(", 1<<20),
		"dictionaries": strings.Repeat("}", 1<<20),
		"laughs":       ")q\x00" + strings.Repeat("h\x00h\x00h\x00\x87q\x00", 1<<16),
		"tuples":       "(" + strings.Repeat("(t", 1<<19),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := stateDict([]byte(code), func(string) (int64, bool) { return 0, true })
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 200*uint64(len(code))+1<<16 {
			t.Errorf("%s: %d bytes allocate %d; err = %v", name, len(code), got, err)
		}
	}
}

func TestNumbers(t *testing.T) {
	for code, want := range map[string]int64{
		"K\xff": 255, "M\xff\xff": 65535, "J\xfe\xff\xff\xff": -2, "J\xff\xff\xff\x7f": math.MaxInt32,
		"\x8a\x00": 0, "\x8a\x01\xff": -1, "\x8a\x02\xff\x00": 255, "\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80": math.MinInt64,
	} {
		m := &machine{code: []byte(code)[1:]}
		if got, err := m.constant(code[0]); err != nil || got != want {
			t.Errorf("%q is %v (%v), want %d", code, got, err, want)
		}
	}
}

// Whatever a pickle is, it gives tensors that lie within their storages, or an error.
func FuzzPickle(f *testing.F) {
	for _, name := range []string{"statedict/odd.pt", "imagereward/refuse.pt", "statedict/module.pt"} {
		z, err := zip.OpenReader(golden.Path(name))
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range z.File {
			if strings.HasSuffix(m.Name, "data.pkl") {
				b, err := contents(m)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(b)
			}
		}
		z.Close()
	}
	f.Add([]byte(view("FloatStorage", "K\x04", "K\x00", "K\x02K\x02", "K\x01K\x02")))
	f.Fuzz(func(t *testing.T, code []byte) {
		const size = 96
		tensors, err := stateDict(code, func(key string) (int64, bool) { return size, len(key) < 3 })
		if err != nil {
			if !errors.Is(err, ErrRefused) && !errors.Is(err, ErrCorrupt) {
				t.Errorf("err = %v, want ErrRefused or ErrCorrupt", err)
			}
			return
		}
		for name, x := range tensors {
			if x.count() > size {
				t.Fatalf("%s has shape %v", name, x.shape)
			}
			if x.count() > 0 {
				x.decode(make([]byte, size))
			}
		}
	})
}

// Nor does any file do harm.
func FuzzFile(f *testing.F) {
	for _, name := range []string{"statedict/odd.pt", "imagereward/refuse.pt", "statedict/legacy.pt"} {
		f.Add(golden.Read(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := newFile(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		for _, name := range file.Names() {
			x, err := file.Tensor(name)
			if n := len(x.F32) + len(x.F16) + len(x.BF16) + len(x.F64) + len(x.I64); err == nil && n > len(b) {
				t.Fatalf("%s has %d numbers in a file of %d bytes", name, n, len(b))
			}
		}
	})
}
