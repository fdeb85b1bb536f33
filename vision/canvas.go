package vision

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/internal/machine"
)

// Canvas is a picture that is made row by row, from top to bottom. It lies in a temporary file: what it takes of memory does not grow with its height.
type Canvas struct {
	path                    string
	height, width, channels int
	file                    *os.File
	rows                    *bufio.Writer
	values                  int // so far
}

// NewCanvas begins a picture [height, width, channels], of 1 or 3 channels, beside the file that it will be saved as.
func NewCanvas(path string, height, width, channels int) (*Canvas, error) {
	if min(height, width) < 1 || channels != 1 && channels != 3 {
		return nil, fmt.Errorf("%w %q: no picture is of [%d, %d, %d]", ErrOutput, path, height, width, channels)
	}
	takes := 2 * float64(height) * float64(width) * float64(channels)
	if free, ok := machine.Disk(filepath.Dir(path)); ok && takes > free {
		return nil, fmt.Errorf("%w %q: while it is made it takes %.1f MB of the disk in %s, and %.1f MB are free: make room, or name another folder", ErrOutput, path, takes/1e6, filepath.Dir(path), free/1e6)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".doob-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrOutput, path, err)
	}
	os.Remove(f.Name()) // where the system lets go of the name now, nothing is left behind even of a killed program
	return &Canvas{path: path, height: height, width: width, channels: channels, file: f, rows: bufio.NewWriterSize(f, 1<<16)}, nil
}

// Append adds values of the next rows, row-major, on any scale.
func (c *Canvas) Append(values []uint16) error {
	if c.values += len(values); c.values > c.height*c.width*c.channels {
		panic(fmt.Sprintf("vision.Canvas: %d values, want at most those of [%d, %d, %d]", c.values, c.height, c.width, c.channels))
	}
	b := c.rows.AvailableBuffer()
	for _, v := range values {
		if b = binary.LittleEndian.AppendUint16(b, v); cap(b)-len(b) < 2 {
			if _, err := c.rows.Write(b); err != nil {
				return c.unmade(err)
			}
			b = c.rows.AvailableBuffer()
		}
	}
	if _, err := c.rows.Write(b); err != nil {
		return c.unmade(err)
	}
	return nil
}

func (c *Canvas) unmade(err error) error {
	return fmt.Errorf("%w %q: nothing was written, its rows have no room beside it: %w", ErrOutput, c.path, err)
}

// Save writes the picture, whose rows are all there, as PNG or JPEG by its name. Show gives the level of a value.
func (c *Canvas) Save(path string, show func(uint16) uint8) error {
	if want := c.height * c.width * c.channels; c.values != want {
		panic(fmt.Sprintf("vision.Canvas: %d values, want %d", c.values, want))
	}
	if err := c.rows.Flush(); err != nil {
		return c.unmade(err)
	}
	m := &painted{Canvas: c, show: show, band: -1}
	return atomicfile.WriteFunc(path, func(w io.Writer) error { return errors.Join(Encode(w, path, m), m.err) })
}

// Close gives the temporary file back.
func (c *Canvas) Close() error {
	os.Remove(c.file.Name())
	return c.file.Close()
}

// painted shows a canvas as an image, of which so many rows are in memory at a time: as JPEG is written, and a multiple of what PNG takes.
type painted struct {
	*Canvas
	show func(uint16) uint8
	band int // in memory, −1 for none
	rows []byte
	err  error // the first one
}

const bandRows = 16

func (p *painted) ColorModel() color.Model {
	if p.channels == 1 {
		return color.GrayModel
	}
	return color.RGBAModel
}

func (p *painted) Bounds() image.Rectangle { return image.Rect(0, 0, p.width, p.height) }

func (p *painted) Opaque() bool { return true }

func (p *painted) At(x, y int) color.Color {
	if y/bandRows != p.band {
		p.load(y / bandRows)
	}
	at := 2 * ((y%bandRows)*p.width + x) * p.channels
	level := func(c int) uint8 { return p.show(binary.LittleEndian.Uint16(p.rows[at+2*c:])) }
	if p.channels == 1 {
		return color.Gray{Y: level(0)}
	}
	return color.RGBA{R: level(0), G: level(1), B: level(2), A: 255}
}

func (p *painted) load(band int) {
	row := 2 * p.width * p.channels
	if p.rows == nil {
		p.rows = make([]byte, bandRows*row)
	}
	n := min(bandRows, p.height-band*bandRows) * row
	if _, err := p.file.ReadAt(p.rows[:n], int64(band)*bandRows*int64(row)); err != nil && p.err == nil {
		p.err = fmt.Errorf("%w: reading back what was made: %w", ErrOutput, err)
	}
	p.band = band
}
