package sd

import "fmt"

// table is the tensors of a network by name, with their shapes. Its methods add those of a layer.
type table map[string][]int

// linear adds a map [out, in] with or without bias.
func (t table) linear(name string, out, in int, bias bool) {
	t[name+".weight"] = []int{out, in}
	if bias {
		t[name+".bias"] = []int{out}
	}
}

// conv adds a convolution [out, in, kernel, kernel] with bias.
func (t table) conv(name string, out, in, kernel int) {
	t[name+".weight"] = []int{out, in, kernel, kernel}
	t[name+".bias"] = []int{out}
}

// norm adds a normalisation, of groups or of layers.
func (t table) norm(name string, width int) {
	t[name+".weight"], t[name+".bias"] = []int{width}, []int{width}
}

// resnet adds a residual block; time is the width of the time embedding, 0 for none.
func (t table) resnet(name string, out, in, time int) {
	t.norm(name+".norm1", in)
	t.conv(name+".conv1", out, in, 3)
	if time > 0 {
		t.linear(name+".time_emb_proj", out, time, true)
	}
	t.norm(name+".norm2", out)
	t.conv(name+".conv2", out, out, 3)
	if in != out {
		t.conv(name+".conv_shortcut", out, in, 1)
	}
}

// layers adds n of CLIP's transformer layers; inner is the width of their perceptrons.
func (t table) layers(name string, n, width, inner int) {
	for i := range n {
		layer := at("%s.layers.%d", name, i)
		t.norm(layer+".layer_norm1", width)
		for _, p := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			t.linear(layer+".self_attn."+p, width, width, true)
		}
		t.norm(layer+".layer_norm2", width)
		t.linear(layer+".mlp.fc1", inner, width, true)
		t.linear(layer+".mlp.fc2", width, inner, true)
	}
}

// at returns the name of a numbered part.
func at(format string, i ...any) string { return fmt.Sprintf(format, i...) }
