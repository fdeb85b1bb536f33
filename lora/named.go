package lora

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseScaled takes FILE or FILE:SCALE apart, as people name an adapter and how much of it they want; the scale is 1 if there is none. A file whose own
// name ends in a colon and a number is found too, if it is there.
func ParseScaled(s string) (path string, scale float64, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || exists(s) {
		return s, 1, nil
	}
	scale, err = strconv.ParseFloat(s[i+1:], 64)
	if err != nil && exists(s[:i]) {
		return "", 0, fmt.Errorf("adapter %s: the scale after the colon is %q, want a number such as 0.8", s[:i], s[i+1:])
	}
	if err != nil {
		return s, 1, nil // of a path with a colon in it
	}
	if math.IsNaN(scale) || math.IsInf(scale, 0) {
		return "", 0, fmt.Errorf("adapter %s: the scale after the colon is %g, want a finite number", s[:i], scale)
	}
	return s[:i], scale, nil
}
