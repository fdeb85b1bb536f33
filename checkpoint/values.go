package checkpoint

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"unsafe"
)

// chunk is the number of bytes converted at a time.
const chunk = 1 << 16

// readData reads the elements of e, which r begins with.
func readData(r io.Reader, e entry) (t Tensor, err error) {
	t.Shape = slices.Clone(e.shape)
	le := binary.LittleEndian
	switch e.dtype {
	case F16:
		t.F16, err = readValues(r, e, func(b []byte) Float16 { return Float16(le.Uint16(b)) })
	case BF16:
		t.BF16, err = readValues(r, e, func(b []byte) BFloat16 { return BFloat16(le.Uint16(b)) })
	case F32:
		t.F32, err = readValues(r, e, func(b []byte) float32 { return math.Float32frombits(le.Uint32(b)) })
	case F64:
		t.F64, err = readValues(r, e, func(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) })
	case I64:
		t.I64, err = readValues(r, e, func(b []byte) int64 { return int64(le.Uint64(b)) })
	}
	if err != nil {
		return Tensor{}, err
	}
	return t, nil
}

// readValues reads into the memory of the values, and turns the bytes around only where the machine has another order than
// files: models have a billion of them.
func readValues[T any](r io.Reader, e entry, value func([]byte) T) ([]T, error) {
	size := e.dtype.size()
	values := make([]T, (e.end-e.begin)/size)
	if len(values) == 0 {
		return values, nil
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), len(values)*size)
	if err := readFull(r, bytes, "tensor "+e.name); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		for i := range values {
			values[i] = value(bytes[i*size:])
		}
	}
	return values, nil
}

// writeData writes the elements of t.
func writeData(w io.Writer, t Tensor) error {
	le := binary.LittleEndian
	switch t.DType() {
	case F16:
		return writeValues(w, t.F16, func(b []byte, v Float16) []byte { return le.AppendUint16(b, uint16(v)) })
	case BF16:
		return writeValues(w, t.BF16, func(b []byte, v BFloat16) []byte { return le.AppendUint16(b, uint16(v)) })
	case F64:
		return writeValues(w, t.F64, func(b []byte, v float64) []byte { return le.AppendUint64(b, math.Float64bits(v)) })
	case I64:
		return writeValues(w, t.I64, func(b []byte, v int64) []byte { return le.AppendUint64(b, uint64(v)) })
	}
	return writeValues(w, t.F32, func(b []byte, v float32) []byte { return le.AppendUint32(b, math.Float32bits(v)) })
}

func writeValues[T any](w io.Writer, values []T, appendTo func([]byte, T) []byte) error {
	buf := make([]byte, 0, chunk)
	for part := range slices.Chunk(values, chunk/8) {
		buf = buf[:0]
		for _, v := range part {
			buf = appendTo(buf, v)
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// Rounded returns a tensor of values in a dtype, F32, F16 or BF16, to which they are rounded to nearest.
func Rounded(shape []int, values []float32, d DType) (Tensor, error) {
	t := Tensor{Shape: shape}
	switch d {
	case F32:
		t.F32 = values
	case F16:
		t.F16 = make([]Float16, len(values))
		for i, v := range values {
			t.F16[i] = ToFloat16(v)
		}
	case BF16:
		t.BF16 = make([]BFloat16, len(values))
		for i, v := range values {
			t.BF16[i] = ToBFloat16(v)
		}
	default:
		return t, fmt.Errorf("checkpoint: no rounding to %s: want F32, F16 or BF16", d)
	}
	return t, nil
}
