package mnist

import (
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// judged is a problem with classifiers that know something, and a small run of it.
func judged(t *testing.T) (*Problem, *experiment.Lab) {
	t.Helper()
	p := tiny(t, "methods=[base]", "drawn=500", "classifier={width: 8, steps: 200, batch: 32, learning_rate: 0.02, ema: 0.9}",
		"judge={width: 32, depth: 1, shift: 1, steps: 200, batch: 32, learning_rate: 0.005, ema: 0.9}", "tasks=[single_3, single_5, even, odd]", "samples=30")
	folder, _ := run(t, p)
	l, err := experiment.Reopen(t.Context(), folder, engine.Default)
	if err != nil {
		t.Fatal(err)
	}
	p = l.Problem().(*Problem)
	if _, err := p.Load(); err != nil {
		t.Fatal(err)
	}
	if err := p.Prepare(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	return p, l
}

// The metrics say what they should of images whose classes are known.
func TestMetrics(t *testing.T) {
	p, l := judged(t)
	references, err := p.References(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if a := p.accuracy; a.judge < 0.5 || a.classifier < 0.5 || a.judge > 1 || a.classifier > 1 {
		t.Fatalf("the classifiers have learned nothing: %+v", a)
	}
	measure := func(task string, x []float32) experiment.Result {
		r, err := p.Measure(t.Context(), l, task, &method.Samples{X: x, Count: 1, Members: len(x) / pixels})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	test := func(task string) []float32 { return only(p.images.Test, classes(task), p.images.Test.N) }
	noisy := make([]float32, 30*pixels)
	noise.New(1).Normal(noisy, 0, 0)
	for _, task := range p.Classes {
		own, other := measure(task, test(task)), measure(task, test(map[string]string{"single_3": "single_5", "single_5": "single_3", "even": "odd", "odd": "even"}[task]))
		oracle.Near(t, task+": FID of the test images against themselves", own["fid"].Value, 0, 1e-3*other["fid"].Value)
		if own["accuracy"].Value < 0.5 || other["accuracy"].Value > 0.4 {
			t.Errorf("%s: accuracy %g of its own images, %g of others", task, own["accuracy"].Value, other["accuracy"].Value)
		}
		if real := references[task]; real["fid"].Value > other["fid"].Value || real["fid"].Value < own["fid"].Value || real["accuracy"].Value < 0.5 || real["reward"].Value < other["reward"].Value {
			t.Errorf("%s: of training images %v, of test images of other classes %v", task, real, other)
		}
		if bad := measure(task, noisy); bad["fid"].Value < 3*references[task]["fid"].Value {
			t.Errorf("%s: FID of noise %g, of training images %g", task, bad["fid"].Value, references[task]["fid"].Value)
		}
		// One image, again and again, has no diversity.
		if d := measure(task, slices.Repeat(test(task)[:pixels], 12))["diversity"].Value; d > 1e-3 || own["diversity"].Value < 0.01 {
			t.Errorf("%s: diversity %g of one image, %g of its own images", task, d, own["diversity"].Value)
		}
	}
	// Accuracy is what the judge says: one that takes everything for its first class knows even numbers only. Reward and features are the
	// first classifier's.
	before := measure("even", test("even"))
	p.judge = p.Judge.In(l.Engine.Scope("/blind"))
	p.judge.Init(noise.New(1), 0, 0)
	even, odd := measure("even", test("even")), measure("odd", test("odd"))
	// What the classifier says beyond the judge is over-optimisation: all of the odd digits that it knows, none of the even ones.
	predicted, err := nn.Predict(t.Context(), l.Engine, p.classifier, test("odd"), len(test("odd"))/pixels, 20, shape...)
	if err != nil {
		t.Fatal(err)
	}
	known := 0.0
	for _, class := range predicted {
		known += float64(class%2) / float64(len(predicted))
	}
	oracle.Near(t, "gap of a blind judge on odd digits", odd["overoptimisation"].Value, known, 1e-9)
	if known < 0.5 || even["overoptimisation"].Value > 0 {
		t.Errorf("of the odd digits the classifier knows %g; gap of a judge for whom all is even %g", known, even["overoptimisation"].Value)
	}
	if even["accuracy"].Value != 1 || odd["accuracy"].Value != 0 || even["fid"].Value != before["fid"].Value || even["reward"].Value != before["reward"].Value {
		t.Errorf("with a blind judge, even is %v and odd %v; before, even was %v", even, odd, before)
	}
	trial(t, p)
}

// trial wants the quality of a scale's samples to be higher the nearer they are to training images of the classes.
func trial(t *testing.T, p *Problem) {
	t.Helper()
	tr, err := p.trial(t.Context(), "even", 17)
	if err != nil || tr.Paths != 17 || tr.Given != nil {
		t.Fatalf("%+v, %v", tr, err)
	}
	last := math.Inf(1)
	for i, x := range [][]float32{only(p.images.Train, classes("even"), 1000), only(p.images.Test, classes("even"), 1000), only(p.images.Test, classes("single_3"), 1000)} {
		q, err := tr.Quality(t.Context(), x)
		if err != nil || !(q < last) || i == 0 && math.Abs(q) > 0.01 {
			t.Errorf("quality %g after %g, %v", q, last, err)
		}
		last = q
	}
}

// Tasks learn from keys of their own, and share the noise of their samples; so do methods.
func TestKeys(t *testing.T) {
	p := &Problem{}
	a, b, c := p.Keys(1, "even", "raft"), p.Keys(1, "odd", "raft"), p.Keys(1, "even", "importance")
	if a != c || a.Root != b.Root || a.Particles != b.Particles || a.Loop == b.Loop || a.Start == b.Start {
		t.Errorf("keys of tasks and methods: %v, %v, %v", a, b, c)
	}
	if d := p.Keys(2, "even", "raft"); d.Root == a.Root || d.Loop == a.Loop {
		t.Error("another seed has the same keys")
	}
}
