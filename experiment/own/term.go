package own

import (
	"fmt"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/reward/external"
)

// Term is one reward. Exactly one of command, http, classifier, jpeg, clip, imagereward, measurement and truth says which.
type Term struct {
	external.Settings `yaml:",inline"` // command or http: a program or server of the user's own, see package external

	Classifier string `yaml:"classifier,omitempty"` // log p(class | x), by a classifier that is trained on a folder with a folder of pictures for each class;
	Class      string `yaml:"class,omitempty"`      // one of these. Under evaluate it is another classifier than under rewards

	JPEG string `yaml:"jpeg,omitempty"` // small or large: the size of the picture as a JPEG, in standard deviations of those of the prior's pictures

	CLIP        string `yaml:"clip,omitempty"`        // how well the picture fits the prompt: folder of CLIP
	ImageReward string `yaml:"imagereward,omitempty"` // folder of ImageReward
	Prompt      string `yaml:"prompt,omitempty"`

	Measurement string  `yaml:"measurement,omitempty"` // log-likelihood of a measurement y = Ax + sigma·noise: its picture;
	Truth       string  `yaml:"truth,omitempty"`       // or a sharp picture, that is measured first and compared with
	Operator    string  `yaml:"operator,omitempty"`    // A, see [reward.NewOperator]
	Sigma       float64 `yaml:"sigma,omitempty"`       // on the scale of pictures, from −1 to 1

	imaging.Weighted `yaml:",inline"`
	SHA256           string `yaml:"sha256,omitempty"` // of the files that it is made of, as the run has found them
}

// kinds are the kinds of rewards that a term names, by their keys.
func (t Term) kinds() (out []string) {
	for _, k := range []struct {
		key   string
		given bool
	}{{"command", len(t.Command) > 0}, {"http", t.HTTP != ""}, {"classifier", t.Classifier != ""}, {"jpeg", t.JPEG != ""}, {"clip", t.CLIP != ""},
		{"imagereward", t.ImageReward != ""}, {"measurement", t.Measurement != ""}, {"truth", t.Truth != ""}} {
		if k.given {
			out = append(out, k.key)
		}
	}
	return out
}

// kind is the only kind of a term that was checked.
func (t Term) kind() string { return strings.Join(t.kinds(), " ") }

// external reports whether a reward is a program or a server.
func (t Term) external() bool { return t.kind() == "command" || t.kind() == "http" }

// likely reports whether a reward is the likelihood of a measurement.
func (t Term) likely() bool { return t.kind() == "measurement" || t.kind() == "truth" }

// title says what a reward is, for people.
func (t Term) title() string {
	switch kind := t.kind(); {
	case t.Weighted.Name != "":
		return t.Weighted.Name
	case kind == "classifier":
		return t.Class
	case kind == "jpeg":
		return t.JPEG + " JPEG"
	case t.likely():
		return t.Operator
	default:
		return kind
	}
}

// names are those of all rewards in results, before their weights: each of them once.
func (p *Problem) names() (out []string) {
	for i, t := range p.terms() {
		out = append(out, imaging.ResultName(t.title(), i < len(p.Rewards), out))
	}
	return out
}

// terms are all rewards, those that are only measured last.
func (p *Problem) terms() []Term { return slices.Concat(p.Rewards, p.Evaluate) }

// key is the place of a reward in the configuration.
func (p *Problem) key(i int) string {
	if i < len(p.Rewards) {
		return fmt.Sprintf("rewards[%d]", i)
	}
	return fmt.Sprintf("evaluate[%d]", i-len(p.Rewards))
}

// differentiable reports whether the sum of the rewards has a gradient.
func (p *Problem) differentiable() bool {
	return !slices.ContainsFunc(p.Rewards, func(t Term) bool { return t.external() || t.JPEG != "" })
}

// likelihood reports whether the reward is the likelihood of a measurement and nothing else.
func (p *Problem) likelihood() bool {
	return len(p.Rewards) == 1 && p.Rewards[0].likely() && p.Rewards[0].Factor() == 1
}

// term returns reward i, to be changed.
func (p *Problem) term(i int) *Term {
	if i < len(p.Rewards) {
		return &p.Rewards[i]
	}
	return &p.Evaluate[i-len(p.Rewards)]
}
