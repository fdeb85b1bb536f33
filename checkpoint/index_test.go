package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const indexName = "model.safetensors.index.json"

// sharded writes a model of three tensors in two files, and its index with the given content, into a new folder.
func sharded(t testing.TB, index string) string {
	t.Helper()
	dir := t.TempDir()
	for name, f := range map[string]File{
		"1.safetensors": {
			Tensors:  map[string]Tensor{"a": {Shape: []int{2}, F32: []float32{1, 2}}, "b": {Shape: []int{1}, BF16: []BFloat16{0x3f80}}},
			Metadata: map[string]string{"format": "pt", "part": "1", "first": "yes"},
		},
		"2.safetensors": {
			Tensors:  map[string]Tensor{"c": {Shape: []int{1}, I64: []int64{3}}},
			Metadata: map[string]string{"format": "pt", "part": "2"},
		},
	} {
		if err := Save(filepath.Join(dir, name), f); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, indexName), []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

const goodIndex = `{"metadata":{"total_size":1.8e1,"more":[{"weight_map":null}]},
	"weight_map":{"c":"2.safetensors","a":"1.safetensors","b":"1.safetensors"}}` + "\n"

func TestOpenModelInShards(t *testing.T) {
	dir := sharded(t, goodIndex)
	for _, path := range []string{dir, filepath.Join(dir, indexName)} {
		r, err := OpenModel(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := r.Names(), []string{"a", "b", "c"}; !slices.Equal(got, want) {
			t.Errorf("names %q, want %q", got, want)
		}
		if d := cmp.Diff(map[string]string{"format": "pt"}, r.Metadata()); d != "" {
			t.Errorf("metadata (-want +got):\n%s", d)
		}
		for name, want := range map[string]Tensor{
			"a": {Shape: []int{2}, F32: []float32{1, 2}}, "b": {Shape: []int{1}, BF16: []BFloat16{0x3f80}}, "c": {Shape: []int{1}, I64: []int64{3}},
		} {
			got, err := r.Tensor(name)
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Errorf("%s (-want +got):\n%s; err = %v", name, d, err)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := r.Tensor("c"); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("err = %v, want fs.ErrClosed", err)
		}
	}
}

// A whole file comes before an index, and both before what is named fp16.
func TestOpenModelInFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenModel(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), modelFiles[0]) || !strings.Contains(err.Error(), dir) {
		t.Errorf("empty folder: err = %v, want fs.ErrNotExist with names and folder", err)
	}
	if _, err := OpenModel(filepath.Join(dir, "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v, want fs.ErrNotExist", err)
	}
	for _, name := range []string{"diffusion_pytorch_model.safetensors.index.fp16.json", "model.fp16.safetensors", indexName, "diffusion_pytorch_model.safetensors"} {
		path := filepath.Join(dir, name)
		content := string(saved(t, File{Tensors: map[string]Tensor{name: {Shape: []int{}, F32: []float32{1}}}}))
		if filepath.Ext(name) == ".json" {
			if err := os.WriteFile(filepath.Join(dir, "shard"), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			content = fmt.Sprintf(`{"weight_map":{%q:"shard"}}`, name)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{path, dir} {
			r, err := OpenModel(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := r.Names(); !slices.Equal(got, []string{name}) {
				t.Errorf("%s: got tensors %q, want %q", path, got, name)
			}
			r.Close()
		}
	}
}

func TestIndexErrors(t *testing.T) {
	for _, c := range []struct {
		name, index string
		want        []string
	}{
		{"parent folder", `{"weight_map":{"a":"../1.safetensors"}}`, []string{`"../1.safetensors"`, "in the folder of the index"}},
		{"down and up", `{"weight_map":{"a":"x/../../1.safetensors"}}`, []string{"in the folder of the index"}},
		{"root", `{"weight_map":{"a":"/etc/passwd"}}`, []string{`"/etc/passwd"`, "in the folder of the index"}},
		{"no name", `{"weight_map":{"a":""}}`, []string{`""`, "in the folder of the index"}},
		{"not listed", `{"weight_map":{"a":"1.safetensors","c":"2.safetensors"}}`, []string{`1.safetensors holds tensor "b"`, "not in the index"}},
		{"elsewhere", `{"weight_map":{"a":"1.safetensors","b":"2.safetensors","c":"2.safetensors"}}`, []string{`1.safetensors holds tensor "b"`, "in 2.safetensors by the index"}},
		{"not held", `{"weight_map":{"a":"1.safetensors","b":"1.safetensors","d":"1.safetensors"}}`, []string{`1.safetensors holds no tensor "d"`}},
		{"name twice", `{"weight_map":{"a":"1.safetensors","a":"1.safetensors"}}`, []string{`"a" appears twice`}},
		{"map twice", `{"weight_map":{},"weight_map":{}}`, []string{`"weight_map" appears twice`}},
		{"number", `{"weight_map":{"a":1}}`, []string{"expected a string", "near byte"}},
		{"no map", `{"metadata":{}}`, []string{"no weight_map"}},
		{"null", `{"weight_map":null}`, []string{"expected {"}},
		{"two objects", goodIndex + `{}`, []string{`"{}" after its JSON`}},
		{"truncated", goodIndex[:60], []string{"EOF"}},
		{"nothing", ``, []string{"EOF"}},
		{"bad UTF-8", "{\"\xff\":1}", []string{"UTF-8"}},
		{"header in the index's place", `hello`, []string{"invalid character"}},
	} {
		dir := sharded(t, c.index)
		_, err := OpenModel(dir)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: err = %v, want ErrCorrupt", c.name, err)
			continue
		}
		for _, want := range append(c.want, filepath.Join(dir, indexName)) {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: err = %v, want %q in it", c.name, err, want)
			}
		}
	}
}

func TestShardErrors(t *testing.T) {
	dir := sharded(t, goodIndex)
	shard := filepath.Join(dir, "2.safetensors")
	if err := os.Truncate(shard, 20); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenModel(dir); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "2.safetensors: ") {
		t.Errorf("truncated: err = %v, want ErrCorrupt naming the shard", err)
	}
	if err := os.Remove(shard); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenModel(dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), shard) {
		t.Errorf("missing: err = %v, want fs.ErrNotExist naming the shard", err)
	}
	if err := os.Mkdir(shard, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenModel(dir); err == nil || !strings.Contains(err.Error(), "regular file") {
		t.Errorf("a folder: err = %v, want what is expected", err)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(goodIndex))
	f.Add([]byte(`{"weight_map":{"a":"../x"}}`))
	f.Add([]byte(`{"a":[{}],"weight_map":{}} `))
	f.Fuzz(func(t *testing.T, b []byte) {
		weights, err := parseIndex(b)
		if err != nil && !errors.Is(err, ErrCorrupt) || (err == nil) != (weights != nil) {
			t.Fatalf("%v; err = %v, want ErrCorrupt or a map", weights, err)
		}
		if err != nil {
			return
		}
		r := newReader(filepath.Join(t.TempDir(), indexName)) // of an empty folder
		if err := r.openShards(weights); (err == nil) != (len(weights) == 0) {
			t.Errorf("%q: err = %v", weights, err)
		}
	})
}
