package experiment_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// fitted are settings of a toy whose kernel has the variance that is estimated.
var fitted = append([]string{"process={kernel: ddpm, variance: analytic}", "batch=1000"}, plain...)

func tensors(t *testing.T, folder, name string) map[string]checkpoint.Tensor {
	t.Helper()
	f, err := checkpoint.Load(filepath.Join(folder, name+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return f.Tensors
}

// The variance is estimated once for every base model and kept in the run folder. Whatever goes on with the folder, samples from it or
// evaluates it has the same steps.
func TestFittedVariance(t *testing.T) {
	p := tiny(t, "toy", append(fitted, "methods=[base, importance]", "seeds=2")...)
	d := run(t, p, "cpu")
	first, second := tensors(t, d.folder, "checkpoint/variance")["unexplained"].F64, tensors(t, d.folder, "checkpoint/variance_seed_2")["unexplained"].F64
	if len(first) != len(second) || first[30] == second[30] {
		t.Errorf("u of the base models of two seeds: %v and %v", first, second)
	}
	want := outcome(t, d.folder)
	for _, after := range []int{3, 5, 8} {
		folder := stopped(t, tiny(t, "toy", append(fitted, "methods=[base, importance]", "seeds=2")...), "cpu", after)
		resume(t, folder)
		same(t, "stopped", want, outcome(t, folder))
	}
	evaluated, err := experiment.Evaluate(t.Context(), experiment.Draw{Folder: d.folder, Seed: 1}, func(experiment.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	own := tensors(t, d.folder, "samples/base")["samples"].F32
	alone := run(t, tiny(t, "toy", append(fitted, "methods=[base, importance]")...), "cpu") // the numbers of the first seed
	for name, r := range alone.report.Methods {
		if got := evaluated.Methods[name]["sw2"].Value; got != r["sw2"].Value {
			t.Errorf("%s has the SW2 %g, and again %g", name, r["sw2"].Value, got)
		}
	}
	if other := tensors(t, run(t, tiny(t, "toy", append(plain, "process.kernel=ddpm", "methods=[base]")...), "cpu").folder, "samples/base")["samples"].F32; other[0] == own[0] {
		t.Error("the variance makes no difference")
	}

	file := filepath.Join(d.folder, "checkpoint", "variance.safetensors")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	_, err = experiment.Sample(t.Context(), experiment.Draw{Folder: d.folder, N: 1, Out: filepath.Join(t.TempDir(), "x.csv")})
	if oracle.WantError(t, err, "not estimated the variance", "--resume"); !errors.Is(err, experiment.ErrFolder) {
		t.Errorf("error %v does not wrap ErrFolder", err)
	}
	resume(t, d.folder, "importance.iterations=4")
	if got := tensors(t, d.folder, "checkpoint/variance")["unexplained"].F64[30]; got != first[30] {
		t.Errorf("estimated again, u is %g, and was %g", got, first[30])
	}
	if err := checkpoint.Save(file, checkpoint.File{Tensors: map[string]checkpoint.Tensor{"log_snr": {Shape: []int{1}, F64: []float64{1}}}}); err != nil {
		t.Fatal(err)
	}
	_, err = experiment.Sample(t.Context(), experiment.Draw{Folder: d.folder, N: 1, Out: filepath.Join(t.TempDir(), "x.csv")})
	oracle.WantError(t, err, "1 noise levels and 0 values")
}

// At six steps, base samples of a Gaussian have lost variance to the posterior variance, and none to that which is estimated.
func TestFittedVarianceOfTheBase(t *testing.T) {
	total := func(variance string) (sum float64) {
		d := run(t, tiny(t, "toy", append(fitted, "prior={means: [[0, 0, 0]], sd: 0.5}", "base=exact", "methods=[base]", "samples=4000", "process={kernel: ddpm, variance: "+variance+"}")...), "cpu")
		x := tensors(t, d.folder, "samples/base")["samples"].F32
		for k := range 3 {
			var mean, square float64
			for i := k; i < len(x); i += 3 {
				mean, square = mean+float64(x[i])/4000, square+float64(x[i])*float64(x[i])/4000
			}
			sum += square - mean*mean
		}
		return sum
	}
	const exact, se = 3 * 0.5 * 0.5, 0.0097 // √(2/(3·4000)) of it
	if got := total("posterior"); got > exact-20*se {
		t.Errorf("the variance is %g of %g with posterior", got, exact)
	}
	oracle.Near(t, "the variance with analytic", total("analytic"), exact, 4*se)
}

// On Gaussian images, what is estimated is known: where there is little signal, u is the mean variance of a pixel times the signal-to-noise
// ratio. Data without samples to estimate it on are told so.
func TestFittedVarianceOfProblems(t *testing.T) {
	d := run(t, tiny(t, "superres", "data=gaussian", "gaussian={side: 4, length: 1, sd: 0.5}", "h={tuned: false, patch: 1}", "measurements=2", "samples=3", "held=1", "previews=0",
		"methods=[importance_fast]", "methods=[importance, importance_fast]", "process={steps: 3, variance: analytic}", "drawn=50"), "cpu")
	u := tensors(t, d.folder, "checkpoint/variance")
	snr := math.Exp(u["log_snr"].F64[0])
	oracle.Near(t, "u/SNR at t = 1", u["unexplained"].F64[0]/snr, 0.25*1.001, 4*math.Sqrt(4*0.25/snr)/256)

	home := t.TempDir()
	write(t, filepath.Join(home, "centre.txt"), "0.5\n")
	p, err := experiment.New("bell", "", "", []string{"from=" + home, "process={kernel: ddpm, variance: analytic}", "methods=[base]"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = experiment.Run(t.Context(), p, filepath.Join(t.TempDir(), "run"), "cpu", func(experiment.Event) {})
	oracle.WantError(t, err, "process.variance is analytic", "bell gives none", "posterior or beta")
}
