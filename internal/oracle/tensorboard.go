package oracle

import (
	"encoding/binary"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// BoardEvent is an event of a file for TensorBoard.
type BoardEvent struct {
	Time    float64 // seconds since 1970
	Step    int64
	Version string
	Scalars map[string]float64
	Texts   map[string]string
	PNGs    map[string]string
}

// Board reads the one event file in a folder, every record of which must be whole. It shares nothing with what writes them: sums are taken bit by
// bit, and messages read by the rules of Protocol Buffers, whatever the order of their fields.
func Board(t *testing.T, dir string) (events []BoardEvent) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*tfevents*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s has event files %v, %v: want one", dir, files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(text); {
		if len(text)-at < 16 {
			t.Fatalf("%s: %d bytes at the end, too few for a record", files[0], len(text)-at)
		}
		n := int(binary.LittleEndian.Uint64(text[at:]))
		if got, want := binary.LittleEndian.Uint32(text[at+8:]), maskedCRC(text[at:at+8]); got != want {
			t.Fatalf("%s, byte %d: the sum of the length is %#x, want %#x", files[0], at, got, want)
		}
		if n < 0 || n > len(text)-at-16 {
			t.Fatalf("%s, byte %d: a record of %d bytes in a file of %d", files[0], at, n, len(text))
		}
		data := text[at+12 : at+12+n]
		if got, want := binary.LittleEndian.Uint32(text[at+12+n:]), maskedCRC(data); got != want {
			t.Fatalf("%s, byte %d: the sum of the data is %#x, want %#x", files[0], at, got, want)
		}
		events, at = append(events, boardEvent(t, data)), at+16+n
	}
	return events
}

func boardEvent(t *testing.T, data []byte) BoardEvent {
	t.Helper()
	ev := BoardEvent{Scalars: map[string]float64{}, Texts: map[string]string{}, PNGs: map[string]string{}}
	for _, f := range fields(t, data) {
		switch f.number {
		case 1:
			ev.Time = math.Float64frombits(f.value)
		case 2:
			ev.Step = int64(f.value)
		case 3:
			ev.Version = string(f.bytes)
		case 5:
			for _, f := range fields(t, f.bytes) {
				ev.value(t, fields(t, f.bytes))
			}
		}
	}
	return ev
}

// value takes one value of a summary.
func (ev *BoardEvent) value(t *testing.T, all []field) {
	t.Helper()
	tag, text := string(one(t, all, 1).bytes), false
	if m := find(all, 9); m != nil {
		plugin := one(t, fields(t, m.bytes), 1)
		text = string(one(t, fields(t, plugin.bytes), 1).bytes) == "text"
	}
	switch {
	case find(all, 2) != nil:
		ev.Scalars[tag] = float64(math.Float32frombits(uint32(find(all, 2).value)))
	case find(all, 4) != nil:
		ev.PNGs[tag] = string(one(t, fields(t, find(all, 4).bytes), 4).bytes)
	case find(all, 8) != nil && text:
		tensor := fields(t, find(all, 8).bytes)
		if kind := one(t, tensor, 1).value; kind != 7 {
			t.Fatalf("%s: a text of type %d, want 7, string", tag, kind)
		}
		ev.Texts[tag] = string(one(t, tensor, 8).bytes)
	default:
		t.Fatalf("%s is no number, text or picture", tag)
	}
}

// field is one of a message.
type field struct {
	number, value uint64
	bytes         []byte
}

func fields(t *testing.T, data []byte) (out []field) {
	t.Helper()
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 {
			t.Fatal("a field without a key")
		}
		f, kind := field{number: key >> 3}, key&7
		data = data[n:]
		size := map[uint64]int{1: 8, 5: 4}[kind]
		switch kind {
		case 0, 2:
			if f.value, n = binary.Uvarint(data); n <= 0 {
				t.Fatalf("field %d: no number", f.number)
			}
			data = data[n:]
			if kind == 2 {
				size = int(f.value)
			}
		case 1, 5:
		default:
			t.Fatalf("field %d has wire type %d", f.number, kind)
		}
		if size < 0 || size > len(data) {
			t.Fatalf("field %d has %d bytes of %d", f.number, size, len(data))
		}
		f.bytes, data = data[:size], data[size:]
		for i := size - 1; kind != 2 && i >= 0; i-- {
			f.value = f.value<<8 | uint64(f.bytes[i])
		}
		out = append(out, f)
	}
	return out
}

func find(all []field, number uint64) *field {
	for i := range all {
		if all[i].number == number {
			return &all[i]
		}
	}
	return nil
}

func one(t *testing.T, all []field, number uint64) field {
	t.Helper()
	f := find(all, number)
	if f == nil {
		t.Fatalf("a message lacks field %d", number)
	}
	return *f
}

// maskedCRC is the Castagnoli polynomial's remainder, one bit at a time, as TensorFlow's records mask it.
func maskedCRC(data []byte) uint32 {
	sum := ^uint32(0)
	for _, b := range data {
		sum ^= uint32(b)
		for range 8 {
			sum = sum>>1 ^ 0x82f63b78*(sum&1)
		}
	}
	return bits.RotateLeft32(^sum, 17) + 0xa282ead8
}

// BoardFiles reads all event files in folders below one, by the names of the folders.
func BoardFiles(t *testing.T, dir string) map[string][]BoardEvent {
	t.Helper()
	all := map[string][]BoardEvent{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(e.Name(), "tfevents") {
			all[filepath.Base(filepath.Dir(path))] = Board(t, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
