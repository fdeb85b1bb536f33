package own

import (
	"math"

	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/reward"
)

// checkTerms notes what is wrong with rewards.
func (p *Problem) checkTerms(c *config.Check) {
	for i, t := range p.terms() {
		key := p.key(i)
		if kinds := t.kinds(); len(kinds) != 1 {
			c.That(false, "%s has %d of command, http, classifier, jpeg, clip, imagereward, measurement and truth, want one of them", key, len(kinds))
			continue
		}
		t.Weighted.Check(c, key, i < len(p.Rewards))
		if t.external() {
			t.Settings.Check(c, key)
		}
		c.That((t.Classifier == "") == (t.Class == ""), "%s has classifier %q and class %q, want both: a folder with a folder of pictures for each class, and the name of one", key, t.Classifier, t.Class)
		if t.JPEG != "" {
			c.OneOf(key+".jpeg", t.JPEG, "small", "large")
			c.That(p.Base.Pictures != "", "%s.jpeg needs prior.pictures: sizes are in standard deviations of theirs", key)
		}
		pictured := t.CLIP != "" || t.ImageReward != ""
		c.That(pictured == (t.Prompt != ""), "%s has the prompt %q, want one with clip or imagereward, and with nothing else", key, t.Prompt)
		c.That(!pictured || !p.Base.Gray, "%s.%s is a reward of pictures with colours, but prior.gray is true", key, t.kind())
		if t.likely() {
			c.That(t.Sigma > 0 && !math.IsInf(t.Sigma, 1), "%s.sigma is %g, want a positive number: the noise of the measurement, on the scale of pictures from −1 to 1", key, t.Sigma)
			if shape, err := p.Base.shape(); err == nil && (p.Base.trained() || p.Base.Size != "") {
				_, err := reward.NewOperator(t.Operator, shape)
				c.That(err == nil, "%s.operator: %v", key, err)
			}
		} else {
			c.That(t.Operator == "" && t.Sigma == 0, "%s has operator or sigma, which belong to measurement or truth", key)
		}
	}
}
