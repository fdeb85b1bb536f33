package finetune

import (
	"math"
	"slices"

	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/stat"
)

// clips reports whether root losses are compared to a quantile.
func (m Matching) clips() bool { return m.Quantile > 0 && m.Quantile < 1 }

// limit is what a root loss may be to count.
func (o *AdjointMatching) limit() float32 {
	if o.updates == 0 || !o.matching.clips() {
		return math.MaxFloat32
	}
	return tensors.MustCopyFlatData[float32](o.clip.MustValue())[0]
}

// learnLimit takes the quantile of the last update's root losses into the running one: the mean over the first ten updates, and from then on a moving average
// of decay 0.9.
func (o *AdjointMatching) learnLimit(counts []float32) error {
	o.updates++
	if !o.matching.clips() {
		return nil
	}
	var roots []float64
	for i, v := range tensors.MustCopyFlatData[float32](o.roots.MustValue()) {
		if counts[i] > 0 {
			roots = append(roots, float64(v))
		}
	}
	if len(roots) == 0 {
		return nil
	}
	slices.Sort(roots)
	last := float64(tensors.MustCopyFlatData[float32](o.clip.MustValue())[0])
	last += (stat.Quantile(o.matching.Quantile, stat.LinInterp, roots, nil) - last) * max(1/float64(o.updates), 0.1)
	return o.clip.SetValue(tensors.FromFlatDataAndDimensions([]float32{float32(last)}, 1))
}
