package experiment_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/gomlx/gomlx/ml/model"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/reward/external"
)

// outside is a Gaussian prior N(0, I) in two dimensions with rewards that are no part of doob, and a judge that is.
type outside struct {
	experiment.Common `yaml:",inline"`
	Rewards           []struct {
		external.Settings `yaml:",inline"`
		Weight            float64 `yaml:"weight"`
	} `yaml:"rewards"`
	H struct {
		nn.MLP              `yaml:",inline"`
		htransform.Settings `yaml:",inline"`
	} `yaml:"h,flow"`

	prior  *gmm.Mixture
	reward reward.Reward
	judge  reward.Reward
}

const outsideDefaults = `
methods: [base, importance]
process: {beta0: 0.1, beta1: 20, kernel: euler-maruyama, steps: 12, power: 2}
denoising: {power: 2}
h: {width: 8, depth: 1, octaves: 2, scale_width: 8}
importance: {iterations: 4, paths: 128, updates: 20, batch: 64, buffer: 512, learning_rate: 0.02, ema: 0.9, acceptance: [0.3]}
samples: 200
batch: 128
`

func init() {
	experiment.Register(experiment.Entry{Name: "outside", About: "Rewards by programs and servers.", New: newOutside, Default: "quick",
		Presets: fstest.MapFS{"presets/defaults.yaml": {Data: []byte(outsideDefaults)}, "presets/quick.yaml": {}}})
	if os.Getenv("DOOB_TEST_SCORER") != "" { // the test binary is a program that scores samples
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			var r struct {
				File   string
				Offset int
				Shape  []int
			}
			if err := json.Unmarshal(in.Bytes(), &r); err != nil {
				panic(err)
			}
			file, err := os.ReadFile(r.File)
			if err != nil {
				panic(err)
			}
			if _, err := os.Stat(os.Getenv("DOOB_TEST_SCORER")); err == nil {
				fmt.Fprintln(os.Stderr, "the disk is full")
				os.Exit(1)
			}
			fmt.Println(firsts(file[r.Offset:], r.Shape[0]))
		}
		os.Exit(0)
	}
}

// firsts answers by the first number of every sample of two.
func firsts(data []byte, n int) string {
	var values []string
	for i := range n {
		values = append(values, fmt.Sprint(math.Float32frombits(binary.LittleEndian.Uint32(data[8*i:]))))
	}
	return `{"rewards":[` + strings.Join(values, ",") + `]}`
}

func newOutside() experiment.Problem {
	sum := reward.Func(func(x []float32) float64 {
		out := float64(x[0]) + float64(x[1])
		x[0], x[1] = 100, 100 // which must change nothing
		return out
	})
	return &outside{judge: sum}
}

func (p *outside) Check(c *config.Check) {
	for i, r := range p.Rewards {
		r.Check(c, fmt.Sprintf("rewards[%d]", i))
	}
}

func (*outside) Offers() method.Needs { return method.Unconditional | method.Learning }

func (p *outside) Load() (data.Source, error) {
	var err error
	p.prior, err = gmm.Isotropic([]float64{1}, [][]float64{{0, 0}}, 1)
	return data.Source{Name: "none", SHA256: "none"}, err
}

func (p *outside) Prepare(ctx context.Context, _ *experiment.Lab) error {
	var terms []reward.Term
	for _, s := range p.Rewards {
		r, err := s.Open(ctx, []int{2})
		if err != nil {
			return err
		}
		terms = append(terms, reward.Term{Weight: s.Weight, Reward: r})
	}
	var err error
	p.reward, err = reward.NewSum(terms...)
	return err
}

func (p *outside) Target(context.Context, *experiment.Lab, string) (*method.Target, error) {
	return &method.Target{Base: diffusion.Mixture{Density: p.prior}, Shape: []int{2}, Reward: p.reward, Conditions: 1,
		H: func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
			return p.H.New(e, key, htransform.Parts{Reward: r, NN1: func(s *model.Scope, inputs int) nn.Network {
				n := p.H.MLP
				n.Scope, n.In, n.Out, n.Timed = s, 2*inputs, 2, true
				return n
			}})
		}}, nil
}

func (*outside) Metrics() []experiment.Metric {
	return []experiment.Metric{{Name: "judge_sum", Title: "sum", Format: "%.3f"}, {Name: "judge_sum_forbidden", Title: "forbidden", Format: "%.3f", Hidden: true}}
}

func (p *outside) Measure(ctx context.Context, _ *experiment.Lab, _ string, s *method.Samples) (experiment.Result, error) {
	values, err := reward.Evaluate(ctx, p.judge, s.X, nil, s.Count*s.Members)
	if err != nil {
		return nil, err
	}
	out := experiment.Result{}
	out.Rewarded("judge_sum", values)
	return out, nil
}

// Whatever goes wrong outside stops the run, with an error that tells what, and the resumed run is the one that never stopped, byte for byte. The rewards are
// 2x₀ by a server and −½x₀ by a program, together 1.5·x₀; a judge measures x₀ + x₁.
func TestRewardsFromOutside(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken")
	t.Setenv("DOOB_TEST_SCORER", broken)
	var asked atomic.Int64
	var fails func(n int64, w http.ResponseWriter, r *http.Request) bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if n := asked.Add(1); fails != nil && fails(n, w, r) {
			return
		}
		head := 8 + binary.LittleEndian.Uint64(body)
		fmt.Fprint(w, firsts(body[head:], len(body[head:])/8))
	}))
	t.Cleanup(server.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rewards := func(timeout string, weight float64) []string {
		return []string{fmt.Sprintf("rewards=[{http: %q, weight: %g, retries: -1, batch: 100, timeout: %s}, {command: [%q], weight: -0.5, retries: -1}]", server.URL, weight, timeout, self)}
	}
	problem := func(sets ...string) experiment.Problem {
		p, err := experiment.New("outside", "", "", sets)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	whole := run(t, problem(rewards("1m", 2)...), "cpu")
	want, total := outcome(t, whole.folder), asked.Load()
	rep := readJSON(t, filepath.Join(whole.folder, "report.json"))
	for name, mean := range map[string]float64{"base": 0, "importance": 1.5} { // to six standard errors of 200 sums, and what four iterations miss
		if got := at(rep, "methods."+name+".judge_sum"); math.Abs(got-mean) > 0.6 {
			t.Errorf("%s: the judge says %g, want %g", name, got, mean)
		}
		if got := at(rep, "methods."+name+".judge_sum_forbidden"); got != 0 {
			t.Errorf("%s: the judge forbids %g", name, got)
		}
	}

	say := func(text string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	for name, c := range map[string]struct {
		at   int64 // request, of base samples, of an iteration or of the samples of importance
		fail func(w http.ResponseWriter, r *http.Request)
		is   error
	}{
		"dies": {3, func(w http.ResponseWriter, _ *http.Request) {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				c.Close()
			}
		}, external.ErrConnection},
		"hangs":          {5, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, external.ErrLate},
		"NaN":            {7, say(`{"rewards":[` + strings.Repeat("0,", 99) + `NaN]}`), reward.ErrInvalid},
		"count":          {1, say(`{"rewards":[0,1]}`), reward.ErrInvalid},
		"garbage":        {total, say(`<html>`), external.ErrAnswer},
		"the other dies": {8, nil, external.ErrDied},
	} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			fails = func(n int64, w http.ResponseWriter, r *http.Request) bool {
				if n < c.at {
					return false
				}
				if c.fail != nil {
					c.fail(w, r)
				} else if err := os.WriteFile(broken, nil, 0o666); err != nil {
					t.Error(err)
				}
				return c.fail != nil
			}
			timeout := map[bool]string{true: "2s", false: "1m"}[name == "hangs"]
			folder := filepath.Join(t.TempDir(), "run")
			_, err := experiment.Run(t.Context(), problem(rewards(timeout, 2)...), folder, "cpu", func(experiment.Event) {})
			if !errors.Is(err, c.is) || !errors.Is(err, reward.ErrFailed) {
				t.Errorf("error %v, want one that is %q", err, c.is)
			}
			oracle.WantError(t, err, map[bool]string{true: server.URL, false: "the disk is full"}[c.fail != nil], "doob run --resume "+folder)
			fails = nil
			if err := os.Remove(broken); (err == nil) != (c.fail == nil) {
				t.Error(err)
			}
			if name == "hangs" { // how long to wait may be changed, and what results depend on may not
				_, err := experiment.Resume(t.Context(), folder, rewards("1m", 3), func(experiment.Event) {})
				oracle.WantError(t, err, "rewards[0].weight is 3")
			}
			resume(t, folder, rewards("1m", 2)...)
			same(t, name, want, outcome(t, folder))
		})
	}

	// A server that says the same of everything.
	fails = func(_ int64, w http.ResponseWriter, _ *http.Request) bool {
		fmt.Fprint(w, `{"rewards":[`+strings.Repeat("0,", 49)+`0]}`)
		return true
	}
	constant := problem(fmt.Sprintf("rewards=[{http: %q, weight: 2, batch: 50}]", server.URL), "samples=50", "importance.paths=50", "methods=[importance]")
	_, err = experiment.Run(t.Context(), constant, filepath.Join(t.TempDir(), "run"), "cpu", func(experiment.Event) {})
	if !errors.Is(err, finetune.ErrNoSignal) {
		t.Errorf("error %v, want %q", err, finetune.ErrNoSignal)
	}
	oracle.WantError(t, err, "iteration 1", "for all 50 paths")
}

// What a reward forbids is counted, and not taken into its mean.
func TestRewarded(t *testing.T) {
	got := experiment.Result{}
	got.Rewarded("a", []float64{math.Inf(-1), 1, 3, math.Inf(-1)})
	got.Rewarded("b", []float64{math.Inf(-1)})
	want := experiment.Result{"a": {Value: 2, SE: 1}, "a_forbidden": {Value: 0.5, SE: math.NaN()}, "b_forbidden": {Value: 1, SE: math.NaN()}}
	if d := cmp.Diff(want, got, cmpopts.EquateNaNs()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
