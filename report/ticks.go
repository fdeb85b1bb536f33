package report

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// ticks returns about n ticks of an axis; how many there are on a logarithmic one its powers of ten say.
func ticks(lo, hi float64, n int, log bool) []plot.Tick {
	if log {
		return logTicks(lo, hi)
	}
	return linearTicks(lo, hi, n, 0)
}

// linearTicks returns about n ticks in [lo, hi], at multiples of 1, 2 or 5 times a power of ten and at least least
// apart. Unlike those of gonum they keep to whole numbers where asked, and have short labels of one unit.
func linearTicks(lo, hi float64, n int, least float64) []plot.Tick {
	if !(hi > lo) || math.IsInf(hi-lo, 0) {
		return nil
	}
	raw := max((hi-lo)/float64(n), least)
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	step := 10 * power
	for _, m := range []float64{1, 2, 5} {
		if m*power >= raw*(1-1e-9) {
			step = m * power
			break
		}
	}
	unit, suffix := unitOf(max(math.Abs(lo), math.Abs(hi)))
	decimals := max(0, int(-math.Floor(math.Log10(step/unit)+1e-9)))
	var ticks []plot.Tick
	for i := math.Ceil(lo/step - 1e-9); i*step <= hi+1e-9*step; i++ {
		label := "0"
		if i != 0 {
			label = number(i*step/unit, decimals) + suffix
		}
		ticks = append(ticks, plot.Tick{Value: i * step, Label: label})
	}
	return ticks
}

// unitOf returns the unit in which an axis that reaches as far as v is labelled, and its suffix.
func unitOf(v float64) (unit float64, suffix string) {
	switch {
	case v >= 1e15 || v > 0 && v < 1e-4:
		e := math.Floor(math.Log10(v) + 1e-9)
		return math.Pow(10, e), tenTo(int(e))
	case v >= 1e12:
		return 1e12, "T"
	case v >= 1e9:
		return 1e9, "G"
	case v >= 1e6:
		return 1e6, "M"
	case v >= 1e4:
		return 1e3, "k"
	}
	return 1, ""
}

// number formats v with a true minus sign.
func number(v float64, decimals int) string {
	return strings.Replace(strconv.FormatFloat(v, 'f', decimals, 64), "-", "−", 1)
}

// thousands formats n with commas.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// logTicks returns ticks in [lo, hi] > 0 at powers of ten, every other or third one where there are many; over less than
// two of them also at 2 and 5 times a power of ten. Those of gonum are at every power, however many or few there are.
func logTicks(lo, hi float64) []plot.Tick {
	first, last := math.Floor(math.Log10(lo)+1e-9), math.Ceil(math.Log10(hi)-1e-9)
	every := math.Ceil((last - first) / 5)
	factors := []float64{1}
	if math.Log10(hi/lo) < 2 {
		factors = []float64{1, 2, 5}
	}
	var ticks []plot.Tick
	for e := first; e <= last; e += max(1, every) {
		for _, f := range factors {
			if v := f * math.Pow(10, e); v >= lo*(1-1e-9) && v <= hi*(1+1e-9) {
				ticks = append(ticks, plot.Tick{Value: v, Label: power(f, int(e))})
			}
		}
	}
	return ticks
}

// power formats f·10^e. Figures write 1e−6: the fonts have no raised minus, and 10⁶ for it would be a lie.
func power(f float64, e int) string {
	v := f * math.Pow(10, float64(e))
	switch unit, suffix := unitOf(v); {
	case e >= -3 && e <= 3:
		return number(v, max(0, -e))
	case e > 0 && e < 15:
		return number(v/unit, 0) + suffix
	}
	return number(f, 0) + tenTo(e)
}

func tenTo(e int) string { return "e" + number(float64(e), 0) }
