package data

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/image/draw"

	"github.com/doob-diffusion/doob/vision"
)

// pictureNames are how the names of pictures end.
var pictureNames = []string{".png", ".jpg", ".jpeg", ".gif", ".webp"}

// ReadFolder reads the pictures of a folder in the order of their names, as images of one size, see [ReadFitted]; where it has none, those of the folders in
// it. Files that are not named as pictures, and hidden ones, are left out. A folder that is not there is [ErrMissing], one without pictures and a file that
// is none are [vision.ErrPicture].
func ReadFolder(dir string, height, width, channels int) (Images, error) {
	files, err := picturesOf(dir)
	if err != nil {
		return Images{}, err
	}
	out := Images{Height: height, Width: width, Channels: channels}
	for _, file := range files {
		im, err := ReadFitted(file, height, width, channels)
		if err != nil {
			return Images{}, err
		}
		out.Pixels, out.Labels, out.N = append(out.Pixels, im.Pixels...), append(out.Labels, 0), out.N+1
	}
	return out, nil
}

// ReadClasses reads a folder that has a folder of pictures for each class, see [ReadFolder]. Labels are places in names, which are sorted.
func ReadClasses(dir string, height, width, channels int) (im Images, names []string, err error) {
	_, folders, _, err := list(dir)
	if err != nil {
		return Images{}, nil, missing(err)
	}
	im = Images{Height: height, Width: width, Channels: channels}
	for _, folder := range folders {
		class, err := ReadFolder(folder, height, width, channels)
		if err != nil {
			return Images{}, nil, err
		}
		im.Pixels, im.N = append(im.Pixels, class.Pixels...), im.N+class.N
		im.Labels = append(im.Labels, slices.Repeat([]int{len(names)}, class.N)...)
		names = append(names, filepath.Base(folder))
	}
	if len(names) < 2 {
		return Images{}, nil, fmt.Errorf("%w: %s has folders for %d classes: want a folder of pictures for each of at least two, named after them", vision.ErrPicture, dir, len(names))
	}
	return im, names, nil
}

// ReadFitted reads a picture as an image of a size: scaled, up or down, until it covers that, and what then sticks out is cut off on both sides alike.
// See [vision.Read] for how it is read. With 1 channel, colours become gray.
func ReadFitted(path string, height, width, channels int) (Images, error) {
	p, err := vision.Read(path)
	if err != nil {
		return Images{}, err
	}
	fitted := cover(p.RGB().Image(), width, height)
	out := Images{N: 1, Height: height, Width: width, Channels: channels, Labels: []int{0}}
	for at := 0; at < len(fitted.Pix); at += 4 {
		pixel := color.RGBA{fitted.Pix[at], fitted.Pix[at+1], fitted.Pix[at+2], 255}
		levels := []uint8{pixel.R, pixel.G, pixel.B}
		if channels == 1 {
			levels = []uint8{color.GrayModel.Convert(pixel).(color.Gray).Y}
		}
		for _, v := range levels {
			out.Pixels = append(out.Pixels, float32(v)/127.5-1)
		}
	}
	return out, nil
}

// cover scales an image until it covers width×height, and cuts out its middle, on white.
func cover(m image.Image, width, height int) *image.RGBA {
	size := m.Bounds().Size()
	rounded := func(a, b, by int) int { return (2*a*b + by) / (2 * by) } // a·b/by
	w, h := width, rounded(size.Y, width, size.X)
	if h < height {
		w, h = rounded(size.X, height, size.Y), height
	}
	corner := image.Pt(-(w-width)/2, -(h-height)/2)
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)
	if size.X == width && size.Y == height { // as it is
		draw.Draw(out, out.Bounds(), m, m.Bounds().Min, draw.Over)
		return out
	}
	draw.CatmullRom.Scale(out, image.Rectangle{Min: corner, Max: corner.Add(image.Pt(w, h))}, m, m.Bounds(), draw.Over, nil)
	return out
}

// picturesOf lists the pictures of a folder, or else of the folders in it.
func picturesOf(dir string) (files []string, err error) {
	files, folders, others, err := list(dir)
	if err != nil {
		return nil, missing(err)
	}
	if len(files) == 0 {
		for _, folder := range folders {
			more, _, n, err := list(folder)
			if err != nil {
				return nil, missing(err)
			}
			files, others = append(files, more...), others+n
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w: there is none in %s, in %d folders and %d other files: want files whose names end in %s", vision.ErrPicture, dir, len(folders), others, strings.Join(pictureNames, ", "))
	}
	return files, nil
}

// list returns the pictures and the folders in a folder, without hidden ones, and the number of other files.
func list(dir string) (files, folders []string, others int, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case e.IsDir():
			folders = append(folders, path)
		case slices.Contains(pictureNames, strings.ToLower(filepath.Ext(e.Name()))):
			files = append(files, path)
		default:
			others++
		}
	}
	return files, folders, others, err
}

// missing says of a folder that is not there that it is.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return fmt.Errorf("%w: %w", vision.ErrPicture, err)
}
