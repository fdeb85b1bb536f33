package cpu

import "testing"

// Every size has a class of at least that size, of which little is lost; larger sizes have no smaller classes, and no two classes share a number.
func TestClasses(t *testing.T) {
	sizes := map[int]int{}
	last := 0
	check := func(n int) {
		k, size := class(n)
		if size < n || size < last {
			t.Fatalf("%d floats: class of %d, after one of %d", n, size, last)
		}
		if n > 16 && float64(size) > 1.26*float64(n) || n > 1<<16 && float64(size) > 1.07*float64(n) {
			t.Fatalf("%d floats: class of %d is too large", n, size)
		}
		if have, ok := sizes[k]; ok && have != size {
			t.Fatalf("class %d has sizes %d and %d", k, have, size)
		}
		if again, same := class(size); again != k || same != size {
			t.Fatalf("%d floats: class %d of %d, but %d floats: class %d of %d", n, k, size, size, again, same)
		}
		sizes[k], last = size, size
	}
	for n := 1; n < 300_000; n++ {
		check(n)
	}
	for n := 300_001; n < 1<<36; n += n / 100 {
		check(n)
	}
	seen := map[int]int{}
	for k, size := range sizes {
		if other, ok := seen[size]; ok {
			t.Errorf("classes %d and %d both have %d floats", k, other, size)
		}
		seen[size] = k
	}
}
