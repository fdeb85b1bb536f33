package tensorboard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"image/png"
	"io/fs"
	"math"
	"time"
)

// Value is one number, text or picture under a tag. Make it by [Scalar], [Text] or [PNG].
type Value struct {
	tag  string
	body func() ([]byte, error) // its fields but the tag; nil for nothing to tell
}

// Scalar is a number, which readers keep as float32. One that is not finite is left out.
func Scalar(tag string, v float64) Value {
	return Value{tag, func() ([]byte, error) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, nil
		}
		return binary.LittleEndian.AppendUint32(key(nil, 2, fixed32), math.Float32bits(float32(v))), nil
	}}
}

// Text is shown as Markdown.
func Text(tag, text string) Value {
	return Value{tag, func() ([]byte, error) {
		const stringType = 7
		shape := block(nil, 2, number(nil, 1, 1)) // one dimension of one element
		tensor := block(block(number(nil, 1, stringType), 2, shape), 8, []byte(text))
		plugin := block(nil, 1, []byte("text"))
		return block(block(nil, 8, tensor), 9, block(nil, 1, plugin)), nil
	}}
}

// PNG is a picture that read returns when it is written. One that does not exist is left out.
func PNG(tag string, read func() ([]byte, error)) Value {
	return Value{tag, func() ([]byte, error) {
		file, err := read()
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		size, err := png.DecodeConfig(bytes.NewReader(file))
		if err != nil {
			return nil, err
		}
		const rgba = 4
		picture := number(number(number(nil, 1, uint64(size.Height)), 2, uint64(size.Width)), 3, rgba)
		return block(nil, 4, block(picture, 4, file)), nil
	}}
}

// encode is the Event of some values without its time, which stands before it.
func encode(step int, values []Value) ([]byte, error) {
	var summary []byte
	for _, v := range values {
		body, err := v.body()
		if err != nil {
			return nil, err
		}
		if body != nil {
			summary = block(summary, 1, append(block(nil, 1, []byte(v.tag)), body...))
		}
	}
	return block(number(nil, 2, uint64(step)), 5, summary), nil
}

// version is the Event that every file begins with, without its time.
func version() []byte { return block(nil, 3, []byte("brain.Event:2")) }

// timed puts a time, in seconds since 1970, before the rest of an Event. It takes stampSize bytes.
func timed(at time.Time, rest []byte) []byte {
	seconds := float64(at.UnixNano()) / 1e9
	return append(binary.LittleEndian.AppendUint64(key(nil, 1, fixed64), math.Float64bits(seconds)), rest...)
}

const stampSize = 9

// The wire types of Protocol Buffers that are needed, and fields of them.
const (
	varint  = 0
	fixed64 = 1
	bytesOf = 2
	fixed32 = 5
)

func key(to []byte, field, wire uint64) []byte { return binary.AppendUvarint(to, field<<3|wire) }

func number(to []byte, field, v uint64) []byte {
	return binary.AppendUvarint(key(to, field, varint), v)
}

func block(to []byte, field uint64, content []byte) []byte {
	return append(binary.AppendUvarint(key(to, field, bytesOf), uint64(len(content))), content...)
}
