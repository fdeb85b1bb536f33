package experiment

import (
	"math"
	"testing"

	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// What certificates know together is the mean of those that can be trusted, by their precision; without any, the highest, and no error that
// could be trusted.
func TestKnown(t *testing.T) {
	of := func(logZ, se finetune.Number, reliable bool) finetune.Certificate {
		return finetune.Certificate{LogZ: logZ, LogZSE: se, Verdict: finetune.Verdict{Reliable: reliable, KLReliable: reliable}}
	}
	got := known([]finetune.Certificate{of(-3, 0.1, true), of(-2.8, 0.2, true), of(5, 0.01, false)})
	oracle.Near(t, "log Z", got.LogZ, (-3*100-2.8*25)/125, 1e-12)
	oracle.Near(t, "its error", got.LogZSE, 1/math.Sqrt(125), 1e-12)
	if !got.Reliable {
		t.Error("two that can be trusted make one that cannot")
	}
	if got := known([]finetune.Certificate{of(-3, 0.1, false), of(-2, 0.4, false)}); got.Reliable || got.LogZ != -2 {
		t.Errorf("of two that cannot be trusted: %+v", got)
	}
}

// bare is a problem of which only the common settings are asked.
type bare struct {
	Problem
	c   Common
	own bool // every seed has a prior of its own
}

func (b *bare) common() *Common     { return &b.c }
func (b *bare) Networks() []Network { return []Network{{Name: "base", EachSeed: b.own}} }

// What is known of log Z serves all methods of one law, and none of another: variants that are fine-tuned to another multiple of the reward have their own.
func TestSettle(t *testing.T) {
	p := &bare{}
	var v struct {
		Name string   `yaml:"name"`
		Of   string   `yaml:"of,omitempty"`
		Set  []string `yaml:"set,flow"`
	}
	v.Name, v.Set = "hot", []string{"temper.factor=3"}
	p.c.Variants = append(p.c.Variants, v)
	certificate := func(logZ, se finetune.Number) finetune.Certificate {
		return finetune.Certificate{LogZ: logZ, LogZSE: se, LSC: 1, LSCSE: 0.1, KL: 1 + logZ, Paths: 100, Verdict: finetune.Verdict{Reliable: true, KLReliable: true}}
	}
	b := newBook(p)
	b.certificates = map[stage]finetune.Certificate{{1, "", "base"}: certificate(-3, 0.5), {1, "", "importance"}: certificate(-2.9, 0.01), {1, "", "hot"}: certificate(-8, 0.3)}
	b.settle()
	oracle.Near(t, "KL of the base model", b.certificates[stage{1, "", "base"}].KL, 1-2.9, 0.01)
	oracle.Near(t, "KL of the variant", b.certificates[stage{1, "", "hot"}].KL, 1-8, 1e-9)
	if !b.certificates[stage{1, "", "hot"}].Reliable {
		t.Error("the variant is judged by what is known of another law")
	}
}

// What no seed shows, the mean over the seeds may: a log Ẑ that is low by two and a half errors each time. Seeds with a prior of their own are held against what is
// known of each.
func TestSettleSeeds(t *testing.T) {
	for _, own := range []bool{false, true} {
		for _, low := range []finetune.Number{0, 0.25} {
			p := &bare{own: own}
			b := newBook(p)
			for seed := range uint64(6) {
				truth := finetune.Number(-3)
				if own {
					truth += finetune.Number(seed) // another prior, another Z
				}
				of := func(logZ, se finetune.Number) finetune.Certificate {
					return finetune.Certificate{LogZ: logZ, LogZSE: se, LSC: 1, LSCSE: 0.1, Paths: 100, Verdict: finetune.Verdict{Reliable: true, KLReliable: true}}
				}
				b.certificates[stage{seed, "", "resampled"}] = of(truth, 0.01)
				b.certificates[stage{seed, "", "importance_smc"}] = of(truth-low, 0.1)
			}
			b.settle()
			c := b.certificates[stage{2, "", "importance_smc"}]
			if c.Reliable != (low == 0) || !c.KLReliable || !b.certificates[stage{2, "", "resampled"}].Reliable {
				t.Errorf("own priors: %v, low by %g in each of six seeds: %+v; the others %+v", own, low, c.Verdict, b.certificates[stage{2, "", "resampled"}].Verdict)
			}
			if low > 0 && kind(c.Verdict) != "misses mass" {
				t.Errorf("the reason is %q", c.Reason)
			}
		}
	}
}

// A reason is shown as one of few kinds, whatever task and numbers it has.
func TestKind(t *testing.T) {
	for reason, want := range map[string]string{
		"too few paths: 8 paths of each condition, where 100 may do":             "too few paths",
		"single_3: tail too heavy: Pareto k̂ is 1.20, and (and 3 of 11 more)":    "tail too heavy",
		"misses mass: log Z is at least 2.38 by the seeded one":                  "misses mass",
		"no path has a positive weight":                                          "no weight",
		"even: misses mass: log Z is at least −2.4 by too few paths (a variant)": "misses mass",
	} {
		if got := kind(finetune.Verdict{Reason: reason}); got != want {
			t.Errorf("%q is %q, want %q", reason, got, want)
		}
	}
	if got := kind(finetune.Verdict{Reliable: true, Reason: finetune.Reaches}); got != "reliable" {
		t.Errorf("a reliable one is %q", got)
	}
}
