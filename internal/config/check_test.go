package config

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/nn"
)

// One run of the program shows all faults: each once, in an order that does not depend on that of the checks.
func TestCheckCollectsFaults(t *testing.T) {
	var none Check
	none.That(true, "%s is false", "true")
	none.Positive("samples", 1)
	none.OneOf("kernel", "ddim", "ddpm", "ddim")
	none.Some("methods", []string{"base", "raft"})
	if err := none.Err(); err != nil {
		t.Errorf("nothing is wrong: error %v", err)
	}

	var c Check
	c.Positive("samples", 0)
	c.Some("methods", []string{"base", "raft", "base", "base"})
	c.OneOf("kernel", "euler", "ddpm", "ddim")
	c.Positive("samples", 0)
	c.Positive("batch", -4)
	c.That(1 > 2, "1 > %d", 2)
	c.Some("scales", nil)
	err := c.Err()
	want := strings.Join([]string{"configuration: 1 > 2", "batch is -4, want a positive number", `kernel is "euler": want one of ddpm, ddim`,
		"methods has base twice", "samples is 0, want a positive number", "scales is empty"}, "\n  and ")
	if err == nil || err.Error() != want || !errors.Is(err, ErrConfig) {
		t.Errorf("error\n%v\nwant one that wraps ErrConfig:\n%s", err, want)
	}
}

// What a check allows passes, and of what it does not allow the message tells the key and the value.
func TestChecks(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	scheme := func(s diffusion.Scheme) func(c *Check) { return func(c *Check) { c.Scheme("k", s) } }
	optimizer := func(o nn.Optimizer) func(c *Check) { return func(c *Check) { c.Optimizer("k", o) } }
	training := func(n nn.Training) func(c *Check) { return func(c *Check) { c.Training("k", n) } }
	times := func(l diffusion.TimeLaw) func(c *Check) { return func(c *Check) { c.Times("k", l) } }
	mlp := func(n nn.MLP) func(c *Check) { return func(c *Check) { c.MLP("k", n) } }
	unet := func(side int, u nn.UNet) func(c *Check) { return func(c *Check) { c.UNet("k", u, side) } }
	cnn := func(width int) func(c *Check) { return func(c *Check) { c.CNN("k", nn.CNN{Width: width}) } }

	levels, err := diffusion.NewDiscrete(diffusion.Betas{First: 0.00085, Last: 0.012, Steps: 1000})
	if err != nil {
		t.Fatal(err)
	}
	numbered := func(change func(s *diffusion.Scheme)) func(c *Check) {
		s := diffusion.Scheme{Levels: levels, Kernel: "ddim", Eta: 1, Steps: 20, Free: 2}
		change(&s)
		return scheme(s)
	}
	vp := diffusion.VP{Beta0: 0.1, Beta1: 20}
	em := diffusion.Scheme{VP: vp, Kernel: "euler-maruyama", Steps: 1, Power: 1}
	with := func(change func(s *diffusion.Scheme)) func(c *Check) {
		s := em
		change(&s)
		return scheme(s)
	}
	for i, ok := range []func(c *Check){
		scheme(em), scheme(diffusion.Scheme{VP: vp, Kernel: "ddpm", Steps: 9, Power: 2}),
		scheme(diffusion.Scheme{VP: vp, Kernel: "ddim", Eta: 0.5, Steps: 9, Power: 2}),
		scheme(diffusion.Scheme{VP: vp, Kernel: "ddim", Eta: 1, Steps: 2, Power: 2}),
		scheme(diffusion.Scheme{VP: vp, Kernel: "ddpm", Variance: "posterior", Steps: 9, Power: 2}),
		scheme(diffusion.Scheme{VP: vp, Kernel: "ddpm", Variance: "beta", Steps: 1, Power: 2}),
		scheme(diffusion.Scheme{VP: vp, Kernel: "ddim", Variance: "analytic", Steps: 2, Power: 2}), // noise for any eta
		with(func(s *diffusion.Scheme) { s.Steps, s.Free = 9, 8 }),
		numbered(func(*diffusion.Scheme) {}), numbered(func(s *diffusion.Scheme) { s.Kernel, s.Eta, s.Spacing = "ddpm", 0, "trailing" }),
		optimizer(nn.Optimizer{}), optimizer(nn.Optimizer{LearningRate: 1e-3, EMA: 0.999, WeightDecay: 0.1}),
		training(nn.Training{Steps: 1, Batch: 1}),
		times(diffusion.TimeLaw{}), times(diffusion.TimeLaw{Power: 1}), times(diffusion.TimeLaw{SNRSD: 2, SNRMean: -8}),
		mlp(nn.MLP{Width: 1, Depth: 1}), mlp(nn.MLP{Width: 1, Depth: 1, Octaves: 10}),
		unet(28, nn.UNet{Width: 2, Multipliers: []int{1, 2, 4}}),
		unet(28, nn.UNet{Width: 6, Multipliers: []int{1, 2}, Patch: 2, Blocks: 2, Bottom: 1, Heads: 3}),
		unet(7, nn.UNet{Width: 2, Multipliers: []int{1}, Heads: 1}),
		cnn(8),
	} {
		var c Check
		if ok(&c); c.Err() != nil {
			t.Errorf("case %d: %v", i, c.Err())
		}
	}

	for want, wrong := range map[string]func(c *Check){
		"k.steps is 0":                   with(func(s *diffusion.Scheme) { s.Steps = 0 }),
		"k.power is 0.5":                 with(func(s *diffusion.Scheme) { s.Power = 0.5 }),
		"k.power is NaN":                 with(func(s *diffusion.Scheme) { s.Power = nan }),
		"k.power is +Inf":                with(func(s *diffusion.Scheme) { s.Power = inf }),
		"beta0 and beta1 are 30 and 20":  with(func(s *diffusion.Scheme) { s.VP.Beta0 = 30 }),
		"beta0 and beta1 are 20 and 20":  with(func(s *diffusion.Scheme) { s.VP.Beta0 = 20 }),
		"beta0 and beta1 are 0 and 20":   with(func(s *diffusion.Scheme) { s.VP.Beta0 = 0 }),
		"beta0 and beta1 are NaN and 20": with(func(s *diffusion.Scheme) { s.VP.Beta0 = nan }),
		"beta1 are 0.1 and +Inf":         with(func(s *diffusion.Scheme) { s.VP.Beta1 = inf }),
		`k.kernel: `:                     with(func(s *diffusion.Scheme) { s.Kernel = "euler" }),
		"k.eta is 0":                     with(func(s *diffusion.Scheme) { s.Kernel = "ddim" }), // no noise, no path weights
		"k.eta is 1.5":                   with(func(s *diffusion.Scheme) { s.Kernel, s.Eta, s.Steps = "ddim", 1.5, 9 }),
		"k.eta is NaN":                   with(func(s *diffusion.Scheme) { s.Kernel, s.Eta, s.Steps = "ddim", nan, 9 }),
		`k.variance is "alpha": want`:    with(func(s *diffusion.Scheme) { s.Variance = "alpha" }),
		"has no choice of it":            with(func(s *diffusion.Scheme) { s.Kernel, s.Variance = "euler-maruyama", "beta" }),
		"k.eta is -1":                    with(func(s *diffusion.Scheme) { s.Kernel, s.Variance, s.Eta = "ddim", "beta", -1 }),
		"k.eta is 0, want":               with(func(s *diffusion.Scheme) { s.Kernel, s.Variance = "ddim", "posterior" }),
		"k.steps is 1, want at least 2":  with(func(s *diffusion.Scheme) { s.Kernel, s.Eta = "ddim", 1 }),

		"k.free is -1":                    with(func(s *diffusion.Scheme) { s.Free = -1 }),
		"k.free is 1, want at least 0":    with(func(s *diffusion.Scheme) { s.Free = 1 }),
		"k.spacing is leading, want none": with(func(s *diffusion.Scheme) { s.Spacing = "leading" }),
		"k has power, beta0 or beta1":     numbered(func(s *diffusion.Scheme) { s.Power = 2 }),
		`k.variance is "beta"`:            numbered(func(s *diffusion.Scheme) { s.Variance = "beta" }),
		"has no path weights":             numbered(func(s *diffusion.Scheme) { s.Eta = 0 }),
		"k: diffusion: unknown kernel":    numbered(func(s *diffusion.Scheme) { s.Kernel = "euler-maruyama" }),
		"unknown spacing":                 numbered(func(s *diffusion.Scheme) { s.Spacing = "even" }),
		"1001 steps, expected 1 to 1000":  numbered(func(s *diffusion.Scheme) { s.Steps = 1001 }),

		"k.learning_rate is -1":   optimizer(nn.Optimizer{LearningRate: -1}),
		"k.learning_rate is NaN":  optimizer(nn.Optimizer{LearningRate: nan}),
		"k.learning_rate is +Inf": optimizer(nn.Optimizer{LearningRate: inf}),
		"k.ema is 1,":             optimizer(nn.Optimizer{EMA: 1}),
		"k.ema is -0.1":           optimizer(nn.Optimizer{EMA: -0.1}),
		"k.ema is NaN":            optimizer(nn.Optimizer{EMA: nan}),
		"k.weight_decay is -1":    optimizer(nn.Optimizer{WeightDecay: -1}),
		"k.weight_decay is NaN":   optimizer(nn.Optimizer{WeightDecay: nan}),
		"k.weight_decay is +Inf":  optimizer(nn.Optimizer{WeightDecay: inf}),
		"k.steps is -1":           training(nn.Training{Steps: -1, Batch: 1}),
		"k.batch is 0":            training(nn.Training{Steps: 1}),
		"k.ema is 1.5":            training(nn.Training{Steps: 1, Batch: 1, Optimizer: nn.Optimizer{EMA: 1.5}}),

		"k.power is 0.25":   times(diffusion.TimeLaw{Power: 0.25}),
		"k.power is -1":     times(diffusion.TimeLaw{Power: -1}),
		"power is NaN":      times(diffusion.TimeLaw{Power: nan}),
		"power is +Inf":     times(diffusion.TimeLaw{Power: inf}),
		"k.snr_sd is -1":    times(diffusion.TimeLaw{SNRSD: -1}),
		"k.snr_sd is NaN":   times(diffusion.TimeLaw{SNRSD: nan}),
		"k.snr_sd is +Inf":  times(diffusion.TimeLaw{SNRSD: inf}),
		"k.snr_mean is 8.5": times(diffusion.TimeLaw{SNRMean: 8.5}),
		"k.snr_mean is -30": times(diffusion.TimeLaw{SNRMean: -30}),
		"k.snr_mean is NaN": times(diffusion.TimeLaw{SNRMean: nan}),

		"k.width is 0, want a p": mlp(nn.MLP{Depth: 1}),
		"k.depth is -1":          mlp(nn.MLP{Width: 1, Depth: -1}),
		"k.octaves is 11":        mlp(nn.MLP{Width: 1, Depth: 1, Octaves: 11}),
		"k.octaves is -1":        mlp(nn.MLP{Width: 1, Depth: 1, Octaves: -1}),

		"k.width is 3, want an even":        unet(28, nn.UNet{Width: 3, Multipliers: []int{1}}),
		"k.width is 0, want an even":        unet(28, nn.UNet{Multipliers: []int{1}}),
		"k.multipliers are [],":             unet(28, nn.UNet{Width: 2}),
		"k.multipliers are [1 0]":           unet(28, nn.UNet{Width: 2, Multipliers: []int{1, 0}}),
		"k.blocks is -1":                    unet(28, nn.UNet{Width: 2, Multipliers: []int{1}, Blocks: -1}),
		"k.bottom is -1":                    unet(28, nn.UNet{Width: 2, Multipliers: []int{1}, Bottom: -1}),
		"k.heads is -1":                     unet(28, nn.UNet{Width: 2, Multipliers: []int{1}, Heads: -1}),
		"halves them 3 times":               unet(28, nn.UNet{Width: 2, Multipliers: []int{1, 1, 1, 1}}), // 28 = 4·7
		"28 pixels into patches of 3":       unet(28, nn.UNet{Width: 2, Multipliers: []int{1}, Patch: 3}),
		"patches of 4 and halves":           unet(28, nn.UNet{Width: 2, Multipliers: []int{1, 1}, Patch: 4}),
		"patches of -1":                     unet(28, nn.UNet{Width: 2, Multipliers: []int{1}, Patch: -1}),
		"halves them 64 times":              unet(28, nn.UNet{Width: 2, Multipliers: []int{64: 1}}),          // 2⁶⁴ is no int
		"want a divisor of the channels, 6": unet(28, nn.UNet{Width: 6, Multipliers: []int{2, 1}, Heads: 4}), // 4 divides 12

		"k.width is 12, want a multiple of 8": cnn(12),
		"k.width is 0, want a multiple of 8":  cnn(0),
	} {
		var c Check
		if wrong(&c); c.Err() == nil || !strings.Contains(c.Err().Error(), want) {
			t.Errorf("error %v, want one that says %q", c.Err(), want)
		}
	}
}

// What is in a list of mappings is told apart by its place and key.
func TestFlattenListsOfMappings(t *testing.T) {
	got, err := Flatten([]byte("rewards:\n- {http: a, weight: 2}\n- command: [sh, b]\nmixed: [{a: 1}, 2]\nnone: []\nvariants: [{name: c}]\n"), map[string]bool{"variants": true})
	want := []Value{{"rewards[0].http", "a"}, {"rewards[0].weight", "2"}, {"rewards[1].command", "[sh b]"}, {"mixed", "[{[{a 1}]} 2]"}, {"none", "[]"}, {"variants", "[{name c}]"}}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%v, %v, want %v", got, err, want)
	}
	for i, v := range want {
		if got[i].Key != v.Key || i < 3 && got[i].Text != v.Text {
			t.Errorf("got %q, want %q", got[i], v)
		}
	}
}
