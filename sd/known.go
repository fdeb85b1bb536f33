package sd

import "slices"

// Known returns the U-Net and the text encoder of Stable Diffusion 1.x and of 2.x, in this order, as their published folders configure them. What is
// for one of them can be read without a folder.
func Known() []Folder {
	unet := UNet{Channels: 4, Widths: []int{320, 640, 1280, 1280}, Layers: 2, Context: 768, Heads: slices.Repeat([]int{8}, 4),
		AttendDown: []bool{true, true, true, false}, AttendUp: []bool{false, true, true, true}, Groups: 32, Epsilon: 1e-5, CosineFirst: true, Side: 64}
	text := TextEncoder{Vocabulary: 49408, Positions: 77, Width: 768, Intermediate: 3072, Layers: 12, Heads: 12, QuickGELU: true, Epsilon: 1e-5, EOS: 2}
	first := Folder{UNet: unet, Text: text}
	unet.Context, unet.Heads, unet.Linear = 1024, []int{5, 10, 20, 20}, true
	text.Width, text.Intermediate, text.Layers, text.Heads, text.QuickGELU = 1024, 4096, 23, 16, false
	return []Folder{first, {UNet: unet, Text: text}}
}
