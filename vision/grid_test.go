package vision

import (
	"slices"
	"testing"
)

func TestGrid(t *testing.T) {
	p := func(v uint8) RGB { return RGB{1, 2, []uint8{v, v, v, v + 1, v + 1, v + 1}} }
	got := Grid([]RGB{p(10), p(20), p(30)}, 2)
	want := []uint8{10, 10, 10, 11, 11, 11, 20, 20, 20, 21, 21, 21, 30, 30, 30, 31, 31, 31, 0, 0, 0, 0, 0, 0}
	if got.Height != 2 || got.Width != 4 || !slices.Equal(got.Pixels, want) {
		t.Errorf("%+v", got)
	}
	if one := Grid([]RGB{p(10)}, 5); one.Width != 2 || one.Height != 1 {
		t.Errorf("%+v", one)
	}
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Grid([]RGB{p(1), {1, 1, make([]uint8, 3)}}, 2)
}
