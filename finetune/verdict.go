package finetune

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/doob-diffusion/doob/metric"
)

// Verdict says whether log Ẑ and KL may be believed, and why. KL may be where log Ẑ may not, if another certificate knows log Z: see
// [Certificate.Against].
type Verdict struct {
	Reliable   bool   `json:"reliable"`
	KLReliable bool   `json:"kl_reliable"`
	Reason     string `json:"reason"`
}

const (
	// Reaches is the reason of a verdict that finds nothing wrong: mass that no path has visited is in no number.
	Reaches = "in what the paths reach"
	// largestError of log Ẑ at which a mean of weights and the error estimated with it may still be normal: 11 paths have that error if
	// their weights are as unequal as exponential ones.
	largestError = 0.3
	// enough paths to judge the tail of weights by.
	enough = 100
	// doubtful is log 20: since E Ẑ = Z and no weight is negative, Ẑ exceeds 20·Z with a probability of at most 1/20, whatever the weights
	// (Markov).
	doubtful = 2.995732273553991
)

// Doubt makes the verdict negative.
func (v *Verdict) Doubt(reason string) { *v = Verdict{Reason: reason} }

// judge sets the verdict on means of so many weights, of each of several groups.
func (c *Certificate) judge(paths, groups int) {
	k, se := float64(c.KHat), float64(c.LogZSE)*math.Sqrt(float64(groups)) // of one group
	each, limit := "paths", metric.ParetoLimit(paths)
	if groups > 1 {
		each = "paths of each condition"
	}
	switch {
	case math.IsNaN(float64(c.LogZ)) || math.IsInf(float64(c.LogZ), 0):
		c.Doubt("no path has a positive weight")
	case paths <= 20:
		c.Doubt(fmt.Sprintf("too few paths: %d %s, where %d may do", paths, each, enough))
	case math.IsNaN(k):
		c.Doubt("tail too heavy: fewer than five paths hold all the weight")
	case k >= 0.7:
		c.Doubt(fmt.Sprintf("tail too heavy: Pareto k̂ is %.2f, and from 0.7 on no practical number of paths will do", k))
	case k >= limit:
		c.Doubt(fmt.Sprintf("too few paths: at a Pareto k̂ of %.2f it takes %.0f %s", k, metric.ParetoPaths(k), each))
	case !(se <= largestError):
		c.Doubt(fmt.Sprintf("too few paths: the error of log Ẑ is %.2g, it takes %.0f %s", se, math.Ceil(float64(paths)*se*se/(largestError*largestError)), each))
	default:
		c.Verdict = Verdict{Reliable: true, KLReliable: true, Reason: Reaches}
	}
}

// Bound returns a lower bound of log Z, for the highest of so many bounds of one log Z. Where log Ẑ is reliable, it is [Errors] standard errors below;
// else log Ẑ − log(20·many): one that high above log Z has a probability of at most 1/20 among all of them.
func (c Certificate) Bound(many int) float64 {
	if c.Reliable {
		return float64(c.LogZ) - Errors(many)*float64(c.LogZSE)
	}
	return float64(c.LogZ) - doubtful - math.Log(float64(max(1, many)))
}

// Errors returns how many standard errors bound the highest of so many normal estimates as safely as three bound one (Bonferroni): 3.7 for a dozen.
func Errors(many int) float64 {
	return -distuv.UnitNormal.Quantile(distuv.UnitNormal.CDF(-3) / float64(max(1, many)))
}

// Against judges the certificate by another one of the same chain and reward, found by the named method and chosen among so many. If that one's bound is
// out of reach, mass is missed here. And KL takes the log Ẑ that is known better.
func (c Certificate) Against(other Certificate, by string, many int) Certificate {
	bound := other.Bound(many)
	missed := float64(c.LogZ)+Errors(many)*float64(c.LogZSE) < bound
	if missed || other.Reliable && (!c.Reliable || other.LogZSE < c.LogZSE) {
		c.KL = c.LSC + other.LogZ + Number(math.Log(float64(c.Paths)/float64(c.Paths-c.NonFinite)))
		c.KLSE = Number(math.Hypot(float64(c.LSCSE), float64(other.LogZSE)))
	}
	if missed {
		c.Doubt(below(bound, by))
	}
	c.KLReliable = c.Reliable || other.Reliable
	return c
}

// below is the reason of a log Ẑ that lies below a bound.
func below(bound float64, by string) string {
	return fmt.Sprintf("misses mass: log Z is at least %.3g by %s", bound, by)
}
