package sd

import (
	"math"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// The sizes of Stable Diffusion 1.5, of which others have counted 401.6·10⁹ products for one row of the U-Net and 1257·10⁹ for decoding, at 512×512.
func TestProducts(t *testing.T) {
	u := UNet{Channels: 4, Widths: []int{320, 640, 1280, 1280}, Layers: 2, Context: 768, Heads: []int{8, 8, 8, 8},
		AttendDown: []bool{true, true, true, false}, AttendUp: []bool{false, true, true, true}, Groups: 32}
	v := VAE{Channels: 3, Latent: 4, Widths: []int{128, 256, 512, 512}, Layers: 2, Groups: 32}
	count := func(tensors map[string][]int, want func(string) bool) (n float64) {
		for name, shape := range tensors {
			size := 1
			for _, d := range shape {
				size *= d
			}
			if want == nil || want(name) {
				n += float64(size)
			}
		}
		return n
	}
	oracle.Near(t, "parameters of the U-Net", count(u.Tensors(), nil), 859_520_964, 0)
	oracle.Near(t, "parameters of the decoder", count(v.Tensors(), v.Drawing), 49_490_179+20, 0) // with post_quant_conv
	oracle.Near(t, "products of the U-Net", u.Products(64, 64, 77)/1e9, 401.6, 0.5)
	oracle.Near(t, "products of the decoder", v.Products(64, 64)/1e9, 1257, 2)
	odd := u.Products(11, 14, 77)
	if !(odd < u.Products(12, 14, 77) && odd > u.Products(10, 14, 77)) || math.IsNaN(odd) {
		t.Errorf("%g products at an odd size", odd)
	}
}
