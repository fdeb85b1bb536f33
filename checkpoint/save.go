package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// Save writes f to path. Equal files give equal bytes. The file appears whole or not at all: on an error whatever was
// at path before is still there, except when the last step fails, syncing the folder after the new file is in place.
func Save(path string, f File) error {
	entries, err := arrange(f)
	if err == nil {
		err = write(path, entries, f.Metadata, func(name string) (Tensor, error) { return f.Tensors[name], nil })
	}
	if err != nil {
		return fmt.Errorf("save checkpoint %s: %w", path, err)
	}
	return nil
}

// Write writes f as [Save] does, to w: for those who send it, or keep it for a moment.
func Write(w io.Writer, f File) error {
	entries, err := arrange(f)
	if err == nil {
		var head []byte
		if head, err = header(entries, f.Metadata); err == nil {
			err = writeTo(w, head, entries, func(name string) (Tensor, error) { return f.Tensors[name], nil })
		}
	}
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	return nil
}

// write writes a file whose tensors it asks for one after the other.
func write(path string, entries []entry, metadata map[string]string, tensor func(name string) (Tensor, error)) error {
	head, err := header(entries, metadata)
	if err != nil {
		return err
	}
	return atomicfile.WriteFunc(path, func(w io.Writer) error { return writeTo(w, head, entries, tensor) })
}

func writeTo(w io.Writer, head []byte, entries []entry, tensor func(name string) (Tensor, error)) error {
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, e := range entries {
		t, err := tensor(e.name)
		if err == nil {
			err = writeData(w, t)
		}
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.name, err)
		}
	}
	return nil
}

// entry is one tensor's line of the header; begin and end are byte offsets into the data.
type entry struct {
	name       string
	dtype      DType
	shape      []int
	begin, end int
}

// arrange places the tensors of a file in the data, after checking that they are consistent.
func arrange(f File) ([]entry, error) {
	entries := make([]entry, 0, len(f.Tensors))
	for _, name := range slices.Sorted(maps.Keys(f.Tensors)) {
		t := f.Tensors[name]
		d, n, err := t.layout()
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		entries = append(entries, entry{name: name, dtype: d, shape: t.Shape, end: n * d.size()})
	}
	return placeEntries(entries)
}

// placeEntries takes entries whose end is the bytes that they have, and gives them their places: I64, F64, F32, BF16, F16, and by name within a
// dtype.
func placeEntries(entries []entry) ([]entry, error) {
	for _, e := range entries {
		if err := checkText("tensor name", e.name); err != nil {
			return nil, err
		}
		if e.name == metadataKey {
			return nil, fmt.Errorf("tensor name %q is reserved by the format", e.name)
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Compare(a.dtype.rank(), b.dtype.rank()) })
	offset := 0
	for i := range entries {
		e := &entries[i]
		e.begin, e.end = offset, offset+e.end
		offset = e.end
	}
	return entries, nil
}

// header returns the length prefix and the JSON. It is written piece by piece because encoding/json would sort the
// tensors by name alone, and readers are fastest when the header follows the data.
func header(entries []entry, metadata map[string]string) ([]byte, error) {
	b := bytes.NewBuffer(make([]byte, 8)) // the length, filled in below
	comma := ""
	b.WriteByte('{')
	if len(metadata) > 0 {
		for k, v := range metadata {
			if err := cmp.Or(checkText("metadata key", k), checkText("metadata value of "+k, v)); err != nil {
				return nil, err
			}
		}
		b.WriteString(`"` + metadataKey + `":` + jsonText(metadata))
		comma = ","
	}
	for _, e := range entries {
		shape := e.shape
		if shape == nil {
			shape = []int{}
		}
		fmt.Fprintf(b, `%s%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			comma, jsonText(e.name), e.dtype, jsonText(shape), e.begin, e.end)
		comma = ","
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	n := b.Len() - 8
	if n > maxHeader {
		return nil, fmt.Errorf("header has %d bytes, the format allows %d", n, maxHeader)
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(n))
	return b.Bytes(), nil
}

// jsonText encodes names, string maps and shapes, none of which can fail. Map keys come out sorted.
func jsonText(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return string(bytes.TrimRight(b.Bytes(), "\n"))
}

// checkText refuses what JSON cannot carry: encoding/json would replace bad bytes, and two names could become one.
func checkText(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %q is not valid UTF-8", what, s)
	}
	return nil
}
