package vision

import (
	"fmt"
	"image"
	_ "image/gif" // the formats that pictures may have
	_ "image/jpeg"
	_ "image/png"
	"os"
)

// Open reads a picture from a file: PNG, JPEG, or the first one of a GIF. Errors name the file.
func Open(path string) (RGB, error) {
	f, err := os.Open(path)
	if err != nil {
		return RGB{}, fmt.Errorf("picture: %w", err)
	}
	defer f.Close()
	m, _, err := image.Decode(f)
	if err != nil {
		return RGB{}, fmt.Errorf("picture %s: %w, want a PNG, JPEG or GIF", path, err)
	}
	if m.Bounds().Empty() {
		return RGB{}, fmt.Errorf("picture %s: it is empty", path)
	}
	return FromImage(m), nil
}
