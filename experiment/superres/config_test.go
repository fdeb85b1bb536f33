package superres

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
)

// What makes no sense is refused before anything is done, with the words of what a method needs.
func TestConfig(t *testing.T) {
	for set, words := range map[string]string{
		"operator=average-3":                  "divide",
		"operator=fog":                        "unknown operator",
		"sigma=0":                             "sigma is 0",
		"data=cats":                           `data is "cats"`,
		"methods=[cats]":                      `"cats"`,
		"methods=[online]":                    "online, which needs paths without conditions: superres has none",
		"methods=[resampled]":                 "resampled, which needs paths without conditions: superres has none",
		"methods=[importance_fast]":           "importance_fast, which needs importance",
		"pool=40":                             "pool is 40, want 0",
		"importance_single.measurement=3":     "importance_single.measurement is 3",
		"importance_single.measurement=-1":    "importance_single.measurement is -1",
		"importance_single.acceptance=[2]":    "importance_single.acceptance has 2",
		"group=3":                             "importance.paths is 8, want a multiple of group, 3",
		"group=1":                             "VarGrad",
		"group=0":                             "group is 0",
		"importance_single.prefill=8":         "importance_single.prefill is 8",
		"h.gradient=false":                    "h.gradient",
		"network.width=7":                     "network.width",
		"samples=1":                           "samples is 1",
		"measurements=0":                      "measurements is 0",
		"held=4":                              "held is 4",
		"held=0":                              "held is 0",
		"drawn=10":                            "drawn is 10",
		"data=gaussian":                       "gaussian.side is 0",
		"dps.scales=[]":                       "dps.scales is empty",
		"methods=[importance_single_smc]":     "importance_single",
		"methods=[importance_amplified_fast]": `"importance_amplified_fast"`,
	} {
		_, err := experiment.New("superres", "quick", "../testdata/tiny_superres.yaml", []string{set})
		if !errors.Is(err, experiment.ErrConfig) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: error %v, want one with %q", set, err, words)
		}
	}
	for _, preset := range []string{"quick", "small", "gaussian", "paper"} {
		read, err := experiment.New("superres", preset, "", nil)
		if err != nil {
			t.Errorf("preset %s: %v", preset, err)
			continue
		}
		for _, name := range read.(*Problem).Methods {
			if m := read.(*Problem).Method(name); m == nil || m.About().Needs.Missing(read.Offers()) != "" {
				t.Errorf("preset %s: %s is %v, or its needs are not met", preset, name, m)
			}
		}
	}
}

// Data that are not there, or too few, stop a run before it has written anything.
func TestData(t *testing.T) {
	store := t.TempDir()
	t.Setenv("DOOB_DATA", store)
	elsewhere := t.TempDir()
	for _, c := range []struct {
		sets  []string
		words []string
	}{
		{[]string{"measurements=30"}, []string{"measurements is 30", "12 test images"}},
		{[]string{"data=flowers102"}, []string{store, "doob data get flowers102", "--from", "data=digits"}},
		{[]string{"data=auto", "from=" + elsewhere}, []string{elsewhere}},
	} {
		folder := filepath.Join(t.TempDir(), "run")
		_, err := experiment.Run(t.Context(), tiny(t, c.sets...), folder, engine.Default, func(experiment.Event) {})
		for _, words := range c.words {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%v: error %v, want one with %q", c.sets, err, words)
			}
		}
		if files, _ := filepath.Glob(folder); len(files) > 0 {
			t.Errorf("%v: the run folder was made", c.sets)
		}
	}
	p := tiny(t, "data=auto")
	if source, err := p.Load(); err != nil || p.Data != "digits" || source.Name != "digits" || p.channels() != 1 || p.pixels() != 784 || p.kinds() != 10 {
		t.Errorf("auto without the photographs: %q, %v", p.Data, err)
	}
}
