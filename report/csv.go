package report

import (
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// CSV writes samples x [n, dim], one per line, such that the numbers read back are the same.
func CSV(path string, x []float32, dim int) error {
	var b strings.Builder
	for i, v := range x {
		b.WriteString(strconv.FormatFloat(float64(v), 'g', -1, 32))
		if (i+1)%dim == 0 {
			b.WriteByte('\n')
		} else {
			b.WriteByte(',')
		}
	}
	return atomicfile.Write(path, []byte(b.String()))
}
