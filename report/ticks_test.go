package report

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"pgregory.net/rapid"
)

func labels(ticks []plot.Tick) string {
	var l []string
	for _, t := range ticks {
		l = append(l, t.Label)
	}
	return strings.Join(l, " ")
}

func TestTickLabels(t *testing.T) {
	for _, c := range []struct {
		got  []plot.Tick
		want string
	}{
		{linearTicks(0, 1, 5, 0), "0 0.2 0.4 0.6 0.8 1.0"},
		{linearTicks(-2.6, 2.6, 4, 0), "−2 0 2"},
		{linearTicks(1, 40, 5, 1), "10 20 30 40"},
		{linearTicks(1, 3, 5, 1), "1 2 3"},
		{linearTicks(-0.03, 0.061, 5, 0), "−0.02 0 0.02 0.04 0.06"},
		{linearTicks(0, 8e5, 4, 0), "0 200k 400k 600k 800k"},
		{linearTicks(0, 2.5e6, 5, 0), "0 0.5M 1.0M 1.5M 2.0M 2.5M"},
		{linearTicks(-5e-6, 5e-6, 2, 0), "−5e−6 0 5e−6"},
		{linearTicks(3, 3, 5, 0), ""}, {linearTicks(math.NaN(), 1, 5, 0), ""},
		{logTicks(0.002, 4), "0.01 0.1 1"},
		{logTicks(0.01, 1), "0.01 0.1 1"},
		{logTicks(1.5, 30), "2 5 10 20"},
		{logTicks(2e-7, 6e-6), "2e−7 5e−7 1e−6 2e−6 5e−6"},
		{logTicks(2e14, 4e15), "200T 500T 1e15 2e15"},
		{logTicks(5e-4, 0.04), "5e−4 0.001 0.002 0.005 0.01 0.02"},
		{logTicks(1e-9, 1e6), "1e−9 1e−6 0.001 1 1000 1M"},
	} {
		if d := cmp.Diff(c.want, labels(c.got)); d != "" {
			t.Error(d)
		}
	}
}

func TestLinearTicksStayInView(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Float64Range(-1e6, 1e6).Draw(t, "lo")
		hi := lo + rapid.Float64Range(1e-3, 1e6).Draw(t, "width")
		n := rapid.IntRange(2, 8).Draw(t, "n")
		ticks := linearTicks(lo, hi, n, 0)
		if len(ticks) > n+1 {
			t.Fatalf("%d ticks, want about %d", len(ticks), n)
		}
		eps := 1e-6 * (hi - lo)
		for i, k := range ticks {
			if k.Value < lo-eps || k.Value > hi+eps || i > 0 && k.Value <= ticks[i-1].Value || i > 0 && k.Label == ticks[i-1].Label {
				t.Fatalf("ticks of [%g, %g]: %v", lo, hi, ticks)
			}
		}
	})
}

// The fonts must have every character that this package writes itself; a missing one would be left out silently.
func TestFontsHaveOurCharacters(t *testing.T) {
	const ours = "0123456789−.,ekMGT·…□()%abcdefghijklmnopqrstuvwxyz"
	for _, s := range []text.Style{titleText, noteText} {
		drawable := func(text string) string { return s.Handler.(boxes).drawable(text, s.Font) }
		if got := drawable(ours); got != ours {
			t.Errorf("drawn as %q, want %q", got, ours)
		}
		if got := drawable("10⁻⁶"); !strings.Contains(got, "□") {
			t.Errorf("a raised minus, which the fonts lack, is drawn as %q", got)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
}
