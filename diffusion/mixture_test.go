package diffusion_test

import (
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// A mixture of one Gaussian predicts that Gaussian's noise; of two, what the score of its density says.
func TestMixtureModel(t *testing.T) {
	x, times := []float32{-2, 0.1, 0.5, 3}, []float32{1e-4, 0.1, 0.5, 1}
	predict := func(p diffusion.Process, m diffusion.Model) []float32 {
		return oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{diffusion.State{Process: p, X: in[0], T: in[1]}.Evaluate(m).Eps}
		}, engine.Rows(x, 1), times)[0]
	}
	one, err := gmm.Isotropic([]float64{1}, [][]float64{{prior.Mean}}, prior.SD)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range predict(nil, diffusion.Mixture{Density: one}) {
		slope, offset := prior.line(float64(times[i]))
		oracle.Near(t, "ε of one component", got, slope*float64(x[i])+offset, 2e-5)
	}
	two, err := gmm.Isotropic([]float64{1, 3}, [][]float64{{-1}, {1}}, 0.4)
	if err != nil {
		t.Fatal(err)
	}
	schedule := diffusion.VP{Beta0: 0.5, Beta1: 12}
	for i, got := range predict(schedule, diffusion.Mixture{Density: two}) {
		alpha, sigma := schedule.Alpha(float64(times[i])), schedule.Sigma(float64(times[i]))
		oracle.Near(t, "ε of two components", got, -sigma*two.Diffuse(alpha, sigma).Score([]float64{float64(x[i])})[0], 2e-5)
	}
}
