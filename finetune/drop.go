package finetune

import "fmt"

// certify judges a batch with the pool, which then knows it. A batch whose ESS, as a share of its paths, is below MinESS is dropped: an h that is old, or has gone astray,
// and says next to nothing of the target. Nothing of it is kept and the pool does not know it; its certificate is of these paths alone.
//
// The bound looks at the batch itself, as the weights of a [Pool] never do. Of one h, the batches that meet the rare heavy paths have the low ESS and the high Ẑ; so without
// them log Ẑ is too low, the more so the more are dropped, and what rare paths find is not learned. A bound is to catch what is useless, such as an ESS of some five
// paths, and not to improve averages.
func (f *FineTuning) certify(batch Weighted) (c Certificate, dropped bool, err error) {
	c, pool := Certify(batch, nil, f.Pool)
	if !(float64(c.ESS) < f.MinESS) {
		f.Pool = pool
		return c, false, nil
	}
	if f.Buffer.Len() == 0 {
		return c, true, fmt.Errorf("nothing to learn from: all batches so far were dropped, the last with an ESS of %.2g of its paths, where MinESS (min_ess) wants %g; lower that, or begin with an h nearer to 0 or base paths", float64(c.ESS), f.MinESS)
	}
	return batch.Certificate(), true, nil
}
