package method

import (
	"slices"
	"strings"
	"testing"
)

// The names stand in configurations and reports: a change of them breaks what others have written.
func TestNames(t *testing.T) {
	names, endings := Names()
	if want := []string{"adjoint_matching", "base", "best_of_k", "cem", "ddpo", "dpok", "dpok_gaussian", "dps", "guidance", "importance", "neutral", "online", "raft", "resampled", "rest", "reward_only", "smc_fk", "smc_twisted",
		"vargrad"}; !slices.Equal(names, want) {
		t.Errorf("names are %v, want %v", names, want)
	}
	if want := []string{"_amplified", "_fast", "_polished", "_rejection", "_smc"}; !slices.Equal(endings, want) {
		t.Errorf("endings are %v, want %v", endings, want)
	}
	titles := map[string]string{}
	for _, name := range everyName() {
		about := New(name).About()
		if about.Name != name {
			t.Errorf("the method %q says that it is %q", name, about.Name)
		}
		if other, ok := titles[about.Title]; ok || about.Title == "" {
			t.Errorf("%s and %s are both called %q", name, other, about.Title)
		}
		titles[about.Title] = name
		if own := slices.Contains(names, name); own != (about.Of == "") || !strings.HasPrefix(name, about.Of) {
			t.Errorf("%s takes the h of %q", name, about.Of)
		}
	}
	for name, title := range map[string]string{"importance": "Importance (this method)", "importance_smc": "Importance + SMC", "raft_rejection": "RAFT + rejection",
		"dpok_gaussian_smc": "DPOK, Gaussian KL + SMC", "cem_fast": "CEM, 6 steps", "rest_amplified": "ReST, amplified", "neutral": "Neutral (r = 0)", "neutral_polished": "Neutral, polished", "of my own_smc": "of my own + SMC"} {
		if got := New(name).About().Title; got != title {
			t.Errorf("%s is called %q, want %q", name, got, title)
		}
	}
}

// A name that nobody has gives nothing. What is behind an ending is a matter of who knows what is learned: here it may be anything.
func TestUnknownNames(t *testing.T) {
	for _, name := range []string{"", "nonsense", "Importance", "importance ", "_smc", "_fast", "importance_", "importance_smcs"} {
		if m := New(name); m != nil {
			t.Errorf("%q is %T", name, m)
		}
	}
	for name, of := range map[string]string{"importance_amplified_smc": "importance_amplified", "base_smc": "base", "nonsense_smc": "nonsense"} {
		m := New(name)
		if got := m.About().Of; got != of {
			t.Errorf("%s takes the h of %q, want that of %s", name, got, of)
		}
		if inner := New(of); inner != nil && Learns(inner) {
			t.Errorf("%s says that it learns an h that others could take", of)
		}
	}
}

// Every call makes a value of its own, so that settings of one are not those of another.
func TestNewIsNew(t *testing.T) {
	a, b := New("guidance").(*Guidance), New("guidance").(*Guidance)
	a.Scales.Scales[0], a.Paths = 99, 98
	if b.Scales.Scales[0] == 99 || b.Paths == 98 || New("guidance").(*Guidance).Scales.Scales[0] == 99 {
		t.Error("two methods share their settings")
	}
}

func TestNeeds(t *testing.T) {
	for _, c := range []struct {
		needs, offer Needs
		want         string
	}{
		{0, 0, ""}, {Gradient, Gradient, ""}, {Gradient | Learning, Gradient | Learning | Unconditional, ""},
		{Gradient, 0, "a reward with a gradient"},
		{Likelihood, Gradient, "a reward that is the likelihood of a measurement"},
		{Unconditional, ^Unconditional, "paths without conditions"},
		{Learning, Gradient | Likelihood | Unconditional, "an h to learn"},
		{Gradient | Learning | Unconditional, Gradient, "paths without conditions and an h to learn"},
	} {
		if got := c.needs.Missing(c.offer); got != c.want {
			t.Errorf("needs %b of %b: %q, want %q", c.needs, c.offer, got, c.want)
		}
	}
	for _, name := range everyName() {
		m := New(name)
		needs, of := m.About().Needs, m.About().Of
		want := map[string]Needs{"adjoint_matching": Learning | Gradient | Unconditional, "best_of_k": 0, "base": 0, "ddpo": Learning | Unconditional, "dpok": Learning | Unconditional, "dpok_gaussian": Learning | Unconditional, "dps": Gradient | Likelihood, "guidance": Gradient, "neutral": Learning | Unconditional, "online": Learning | Gradient | Unconditional, "resampled": Unconditional,
			"smc_fk": Gradient, "smc_twisted": Gradient}
		need, ok := want[name]
		if !ok && of == "" {
			need = Learning
		}
		if needs != need {
			t.Errorf("%s needs %b, want %b", name, needs, need)
		}
	}
}

// What is cheap to draw again is what only moves paths; what learns by (15) shares settings.
func TestKinds(t *testing.T) {
	for _, name := range everyName() {
		m := New(name)
		bare := name
		if of := m.About().Of; of != "" {
			bare = strings.TrimPrefix(name, of)
		}
		if got, want := Plain(m), !slices.Contains([]string{"best_of_k", "resampled", "smc_fk", "smc_twisted", "_rejection", "_smc"}, bare); got != want {
			t.Errorf("%s: plain is %v", name, got)
		}
		if got, want := Selects(m), slices.Contains([]string{"cem", "importance", "neutral", "raft", "rest", "reward_only"}, name); got != want {
			t.Errorf("%s: selects is %v", name, got)
		}
		_, loads := m.(Loader)
		if want := m.About().Of != "" || name == "guidance" || name == "dps"; loads != want {
			t.Errorf("%s: can load is %v", name, loads)
		}
	}
}
