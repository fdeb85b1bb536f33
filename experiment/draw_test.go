package experiment_test

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// sample draws samples as CSV.
func sample(t *testing.T, d experiment.Draw) string {
	t.Helper()
	d.Out = filepath.Join(t.TempDir(), "x.csv")
	used, err := experiment.Sample(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if d.Method != "" && used != d.Method {
		t.Errorf("%s is sampled, want %s", used, d.Method)
	}
	return oracle.Read(t, d.Out)
}

func rows(t *testing.T, csv string, columns int) (all [][]float64) {
	t.Helper()
	for line := range strings.Lines(csv) {
		var row []float64
		for field := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), ",") {
			v, err := strconv.ParseFloat(field, 32)
			if err != nil || math.IsNaN(v) {
				t.Fatalf("line %q: %v", line, err)
			}
			row = append(row, v)
		}
		if len(row) != columns {
			t.Fatalf("line %q has %d numbers, want %d", line, len(row), columns)
		}
		all = append(all, row)
	}
	return all
}

// notFinite damages what a run has learned, and puts it back: nothing is drawn from weights that are no numbers.
func notFinite(t *testing.T, folder string) {
	t.Helper()
	file := filepath.Join(folder, "checkpoint", "importance.safetensors")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range f.Tensors {
		x.F32[len(x.F32)-1] = float32(math.NaN())
	}
	if err := checkpoint.Save(file, f); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x.csv")
	_, err = experiment.Sample(t.Context(), experiment.Draw{Folder: folder, N: 2, Out: out})
	oracle.WantError(t, err, file, "is infinite or NaN")
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("samples were written: %v", err)
	}
	if err := os.WriteFile(file, good, 0o666); err != nil {
		t.Fatal(err)
	}
}

// All methods of a toy can be sampled, which changes nothing.
func TestSample(t *testing.T) {
	d := run(t, tiny(t, "toy", append([]string{"methods=[base, guidance, importance, cem, importance_smc, importance_amplified, importance_rejection]"}, plain...)...), "cpu")
	before := tree(t, d.folder)
	draw := func(n int, seed uint64, change func(*experiment.Draw)) string {
		q := experiment.Draw{Folder: d.folder, N: n, Seed: seed}
		if change != nil {
			change(&q)
		}
		return sample(t, q)
	}
	twenty := draw(20, 7, nil)
	if n := len(rows(t, twenty, 3)); n != 20 {
		t.Errorf("%d samples, want 20", n)
	}
	if draw(20, 7, nil) != twenty || draw(20, 8, nil) == twenty {
		t.Error("samples do not follow from the seed")
	}
	// Sample i depends on the seed and i only, also across the border of a batch of 50.
	if !strings.HasPrefix(twenty, draw(5, 7, nil)) || !strings.HasPrefix(draw(73, 7, nil), twenty) {
		t.Error("the first samples depend on how many there are")
	}
	// What a method draws is its own. Without a name it is importance; amplified by 1 is not amplified.
	seen := map[string]string{}
	for _, name := range append([]string{"", "amplify", "accept"}, d.report.Order...) {
		x := draw(6, 7, func(q *experiment.Draw) {
			switch name {
			case "amplify":
				q.Method, q.Amplify = "importance", 2
			case "accept":
				q.Accept = 0.5
			default:
				q.Method = name
			}
		})
		if name == "importance" && seen[x] == "unnamed" || name == "importance_amplified" && seen[x] == "importance" {
			continue
		}
		if twin, ok := seen[x]; ok {
			t.Errorf("%q and %q give the same samples", name, twin)
		}
		if seen[x] = name; name == "" {
			seen[x] = "unnamed"
		}
	}
	if seen[draw(6, 7, func(q *experiment.Draw) { q.Method = "importance" })] != "unnamed" {
		t.Error("without a name it is not importance that is sampled")
	}
	// What is accepted is some of what is drawn.
	drawn := draw(12, 7, nil)
	for row := range strings.Lines(draw(6, 7, func(q *experiment.Draw) { q.Accept = 0.5 })) {
		if !strings.Contains(drawn, row) {
			t.Error("an accepted sample is none of those that were drawn")
		}
	}
	if d := cmp.Diff(before, tree(t, d.folder)); d != "" {
		t.Errorf("the folder has changed (-before +after)\n%s", d)
	}
	notFinite(t, d.folder)

	out := filepath.Join(t.TempDir(), "x.csv")
	type D = experiment.Draw
	for _, c := range []struct {
		draw  D
		words []string
	}{
		{D{Folder: d.folder, N: 1, Out: out, Method: "magic"}, []string{`"magic"`, "base", "importance", "cem"}},
		{D{Folder: d.folder, N: 1, Out: out, Method: "../checkpoint/cem"}, []string{"want one of"}},
		{D{Folder: d.folder, N: 1, Out: out, Task: "odd"}, []string{`"odd"`}},
		{D{Folder: d.folder, N: 0, Out: out}, []string{"0 samples", "at least 1"}},
		{D{Folder: d.folder, N: 1, Out: "grid.jpg"}, []string{"grid.jpg", ".png or .csv"}},
		{D{Folder: d.folder, N: 1, Out: out + ".png"}, []string{"1 and 2 dimensions", ".csv"}},
		{D{Folder: d.folder, N: 1, Out: out, Amplify: -1}, []string{"amplification by -1"}},
		{D{Folder: d.folder, N: 1, Out: out, Amplify: 2, Method: "base"}, []string{"base has no h"}},
		{D{Folder: d.folder, N: 1, Out: out, Accept: 1.5}, []string{"1.5", "(0, 1]"}},
		{D{Folder: d.folder, N: 1, Out: out, Backend: "abacus"}, []string{`"abacus"`}},
		{D{Folder: d.folder, N: 1e12, Out: out}, []string{"does not fit", "sampling 1000000000000"}},
		{D{Folder: d.folder, N: 1, Out: filepath.Join(filepath.Dir(out), "no", "x.csv")}, []string{"there is no folder"}},
		{D{Folder: t.TempDir(), N: 1, Out: out}, []string{"run folder", "config.yaml"}},
	} {
		_, err := experiment.Sample(t.Context(), c.draw)
		oracle.WantError(t, err, c.words...)
	}
}

// A folder that somebody has damaged is told so, and nothing is drawn; nor from one whose configuration is no longer that of what is there.
func TestSampleFromDamage(t *testing.T) {
	d := run(t, tiny(t, "toy", append([]string{"methods=[importance]"}, plain...)...), "cpu")
	for old, c := range map[string]struct {
		new   string
		words []string
	}{
		"width: 8, depth: 1, octaves: 5}": {"width: 9, depth: 1, octaves: 5}", []string{"base.safetensors", "shape", " 8]", " 9]"}}, // recorded so, too
		"scale_width: 8":                  {"scale_width: 16", []string{"importance.safetensors", "shape"}},
		"steps: 6, ":                      {"steps: 7, ", []string{"mix results", "process.steps is 7", "6"}},
		"learning_rate: 0.006":            {"learning_rate: 0.06", []string{"mix results", "learning_rate is 0.06", "0.006"}},
		"samples: 200":                    {"sampels: 200", []string{"config.yaml", "sampels"}},
		"kernel: euler-maruyama":          {"kernel: leapfrog", []string{`"leapfrog"`}},
		"steps: 6":                        {"steps: 0", []string{"process.steps is 0"}},
		"experiment: toy":                 {"experiment: [toy", []string{"config.yaml"}},
		"seed: 1":                         {"", nil},
	} {
		folder := copied(t, d.folder)
		edit(t, filepath.Join(folder, "config.yaml"), old, c.new)
		if len(c.words) > 0 && strings.HasSuffix(c.words[0], ".safetensors") {
			edit(t, filepath.Join(folder, "events.jsonl"), old, c.new)
		}
		if c.words == nil { // for once, not the configuration
			for _, name := range []string{"importance", "base"} {
				file := filepath.Join(folder, "checkpoint", name+".safetensors")
				write(t, file, oracle.Read(t, file)[:100])
				_, err := experiment.Sample(t.Context(), experiment.Draw{Folder: folder, N: 2, Out: filepath.Join(t.TempDir(), "x.csv")})
				oracle.WantError(t, err, name+".safetensors", checkpoint.ErrCorrupt.Error())
			}
			continue
		}
		_, err := experiment.Sample(t.Context(), experiment.Draw{Folder: folder, N: 2, Out: filepath.Join(t.TempDir(), "x.csv")})
		oracle.WantError(t, err, c.words...)
		_, err = experiment.Evaluate(t.Context(), experiment.Draw{Folder: folder, N: 2}, func(experiment.Event) {})
		oracle.WantError(t, err, c.words...)
	}
}

// With the seed of the run, its own numbers come out, of every method; with another one, others. Nothing is written.
func TestEvaluate(t *testing.T) {
	for kind, sets := range map[string][]string{
		"toy":      append([]string{"methods=[base, guidance, importance, vargrad, smc_fk, importance_smc, importance_amplified]"}, plain...),
		"mnist":    append([]string{"methods=[base, guidance, importance, frugal, importance_rejection]", "variants=[{name: frugal, set: [h.gradient=false]}]", "guidance.paths=6"}, small...),
		"superres": {"methods=[bicubic, dps, importance, importance_single]", "drawn=50", "samples=2", "process.steps=3", "dps.paths=4"},
	} {
		d := run(t, tiny(t, kind, sets...), "cpu")
		before := tree(t, d.folder)
		last := experiment.Event{}
		evaluate := func(q experiment.Draw) *experiment.Report {
			t.Helper()
			q.Folder = d.folder
			rep, err := experiment.Evaluate(t.Context(), q, func(ev experiment.Event) { last = ev })
			if err != nil {
				t.Fatal(err)
			}
			if last.Done != last.Total || last.Total == 0 {
				t.Errorf("%s: progress ends at %d of %d", kind, last.Done, last.Total)
			}
			return rep
		}
		same, other := evaluate(experiment.Draw{Seed: 1}), evaluate(experiment.Draw{Seed: 1000})
		differ := 0
		for _, name := range same.Order {
			for key, e := range d.report.Methods[name] {
				got, has := same.Methods[name][key]
				if has && !math.IsNaN(got.Value) && got.Value != e.Value && !strings.HasSuffix(key, "scale") {
					t.Errorf("%s: %s of %s is %v, the run has %v", kind, key, name, got.Value, e.Value)
				}
				if v := other.Methods[name][key].Value; !math.IsNaN(v) && v != e.Value {
					differ++
				}
			}
		}
		if differ == 0 || len(same.Order) < len(d.report.Order) {
			t.Errorf("%s: %v are evaluated; with another seed, %d numbers are others", kind, same.Order, differ)
		}
		if few := evaluate(experiment.Draw{Seed: 1, N: 3, Method: "importance"}); len(few.Order) != 1 || cmp.Equal(few.Methods["importance"], same.Methods["importance"]) {
			t.Errorf("%s: 3 samples of importance: %v", kind, few.Methods)
		}
		if d := cmp.Diff(before, tree(t, d.folder)); d != "" {
			t.Errorf("%s: the folder has changed (-before +after)\n%s", kind, d)
		}
		if kind == "toy" {
			continue
		}
		for _, method := range []string{"base", "importance"} { // pictures
			out := filepath.Join(t.TempDir(), "x.png")
			if _, err := experiment.Sample(t.Context(), experiment.Draw{Folder: d.folder, Method: method, N: 9, Out: out}); err != nil {
				t.Fatal(err)
			}
			if _, err := png.Decode(strings.NewReader(oracle.Read(t, out))); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		// One of the tasks, or of the conditions.
		one := map[string][2]string{"mnist": {"single_3", "even"}, "superres": {"0", "2"}}[kind]
		q := experiment.Draw{Folder: d.folder, N: 2, Task: one[1]}
		second := sample(t, q)
		if q.Task = ""; sample(t, q) == second {
			t.Errorf("%s: %s is the first", kind, one[1])
		}
		first := sample(t, q)
		if q.Task = one[0]; sample(t, q) != first {
			t.Errorf("%s: %s is not the first", kind, one[0])
		}
		q.Task, q.Out = "3", filepath.Join(t.TempDir(), "x.csv")
		_, err := experiment.Sample(t.Context(), q)
		oracle.WantError(t, err, d.folder, `"3"`)
	}
}

func TestEvaluateRefuses(t *testing.T) {
	empty := t.TempDir()
	folder := stopped(t, tiny(t, "toy", "base=exact"), "cpu", 2)
	type D = experiment.Draw
	for _, c := range []struct {
		draw  D
		words []string
	}{
		{D{Folder: folder, N: 1}, []string{"1 samples", "at least 2"}},
		{D{Folder: folder, N: -4}, []string{"-4 samples"}},
		{D{Folder: folder}, []string{folder, "not finished", "no checkpoint", "--resume"}},
		{D{Folder: empty}, []string{"run folder", "config.yaml"}},
	} {
		_, err := experiment.Evaluate(t.Context(), c.draw, func(experiment.Event) {})
		oracle.WantError(t, err, c.words...)
	}
}
