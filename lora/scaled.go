package lora

import "maps"

// Scaled returns the adapter with all that it changes taken times s. The numbers of its pairs are shared.
func (a Adapter) Scaled(s float64) Adapter {
	times := func(pairs map[string]Pair) map[string]Pair {
		pairs = maps.Clone(pairs)
		for module, p := range pairs {
			p.Scale *= s
			pairs[module] = p
		}
		return pairs
	}
	return Adapter{UNet: times(a.UNet), Text: times(a.Text)}
}
