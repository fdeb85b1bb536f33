package vision

import (
	"errors"
	"fmt"
	"image"
	"image/draw"
	"io"
	"os"
)

// ErrPicture says that a file is no picture, or not one that can be used.
var ErrPicture = errors.New("picture")

// MaxPixels is how many pixels a picture may declare. Decoders take up to 12 bytes for each.
const MaxPixels = 1 << 26

// Picture is what a file shows to people: upright, by the orientation that a camera notes in Exif, and opaque, for what is transparent is put on white.
type Picture struct {
	Height, Width int
	Format        string // PNG, JPEG, GIF or WebP
	Transparent   bool   // parts of it are on white

	stored      image.RGBA64Image
	orientation int // of what is stored, as Exif numbers it
}

// Read reads a picture: PNG, JPEG, WebP, or the first one of a GIF, whatever the file's name. Its size is known, and refused above [MaxPixels], before it is
// decoded. Errors wrap [ErrPicture] and name the file; those of files that end early wrap [io.ErrUnexpectedEOF].
func Read(path string) (*Picture, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	defer f.Close()
	p, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrPicture, path, err)
	}
	return p, nil
}

// Open is [Read] in 8-bit colours.
func Open(path string) (RGB, error) {
	p, err := Read(path)
	if err != nil {
		return RGB{}, err
	}
	return p.RGB(), nil
}

// Declared returns the size that a picture declares, as [Read] finds it before it decodes anything, and refuses as it does. Exif may turn the picture.
func Declared(path string) (height, width int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	defer f.Close()
	_, size, err := declared(f)
	if err != nil {
		return 0, 0, fmt.Errorf("%w %s: %w", ErrPicture, path, err)
	}
	return size.Height, size.Width, nil
}

func declared(f *os.File) (format, image.Config, error) {
	info, err := f.Stat()
	if err != nil {
		return format{}, image.Config{}, err
	}
	if !info.Mode().IsRegular() {
		return format{}, image.Config{}, fmt.Errorf("got %s, want a file", info.Mode().Type())
	}
	kind, err := formatOf(f, info.Size())
	if err != nil {
		return kind, image.Config{}, err
	}
	size, err := fromStart(f, kind, kind.size)
	switch {
	case err != nil:
	case size.Width < 1 || size.Height < 1:
		err = fmt.Errorf("it has %d×%d pixels, want at least 1×1", size.Width, size.Height)
	case size.Width > MaxPixels/size.Height:
		err = fmt.Errorf("it declares %d×%d pixels, the limit is %.0f megapixels: make it smaller, or cut it into parts", size.Width, size.Height, MaxPixels/1e6)
	}
	return kind, size, err
}

func read(f *os.File) (*Picture, error) {
	format, size, err := declared(f)
	if err != nil {
		return nil, err
	}
	m, err := fromStart(f, format, format.decode)
	if err != nil {
		return nil, err
	}
	exif, err := fromStart(f, format, func(r io.Reader) ([]byte, error) { return format.exif(r.(io.ReadSeeker)), nil })
	if err != nil {
		return nil, err
	}
	p := upright(onScreen(m, image.Rect(0, 0, size.Width, size.Height)), orientation(exif))
	p.Format = format.name
	return p, nil
}

// onScreen returns an image that covers the screen. The first frame of a GIF may be smaller; around it nothing is.
func onScreen(m image.Image, screen image.Rectangle) image.Image {
	if m.Bounds().Size() == screen.Size() {
		return m
	}
	whole := image.NewRGBA(screen)
	draw.Draw(whole, m.Bounds(), m, m.Bounds().Min, draw.Src)
	return whole
}

// fromStart decodes a file from its beginning. Where a decoder fails after it has asked for bytes that are not there, the file is truncated.
func fromStart[T any](f *os.File, format format, decode func(io.Reader) (T, error)) (T, error) {
	r := &ending{ReadSeeker: f}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return *new(T), err
	}
	out, err := decode(r)
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, errAnimated):
		return *new(T), err
	case r.reached || errors.Is(err, io.ErrUnexpectedEOF):
		return *new(T), fmt.Errorf("the %s file is truncated, it ends too early: %w", format.name, io.ErrUnexpectedEOF)
	}
	return *new(T), fmt.Errorf("the %s file is damaged: %w", format.name, err)
}

// ending is a file of which is known whether more was asked for than there is.
type ending struct {
	io.ReadSeeker
	reached bool
}

func (e *ending) Read(b []byte) (int, error) {
	n, err := e.ReadSeeker.Read(b)
	e.reached = e.reached || err == io.EOF
	return n, err
}
