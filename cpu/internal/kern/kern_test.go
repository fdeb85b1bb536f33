package kern

import (
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

// child is set in the environment of a test that runs itself in another process.
const child = "KERN_TEST_CHILD"

func TestTables(t *testing.T) {
	var names []string
	for _, table := range Tables() {
		names = append(names, table.Name)
		if found, err := Named(table.Name); err != nil || found.Name != table.Name {
			t.Errorf("Named(%q) is %v, %v", table.Name, found, err)
		}
		// A kernel that was forgotten would be found out only when a program needs it.
		for _, part := range []any{table.Gemm, table.Wino, table.Vec, table.Half} {
			v := reflect.ValueOf(part)
			for i := range v.NumField() {
				if f := v.Field(i); f.Kind() == reflect.Func && f.IsNil() {
					t.Errorf("%s: %s.%s is missing", table.Name, v.Type().Name(), v.Type().Field(i).Name)
				}
			}
		}
	}
	if got := names[len(names)-1]; got != "generic" {
		t.Errorf("the last of %v is not the portable one", names)
	}
	if sorted := slices.Compact(slices.Sorted(slices.Values(names))); len(sorted) != len(names) {
		t.Errorf("names are not unique: %v", names)
	}
	// Each is at least as fast as the next.
	for _, order := range []string{"avx512", "avx2", "generic"} {
		if len(names) > 0 && names[0] == order {
			names = names[1:]
		}
	}
	if len(names) != 0 {
		t.Errorf("%v are unknown or in the wrong order", names)
	}
}

func TestUnknownTable(t *testing.T) {
	for _, name := range []string{"sse9", "AVX2", ""} {
		_, err := Named(name)
		if err == nil || !strings.Contains(err.Error(), `"`+name+`"`) || !strings.Contains(err.Error(), "generic") {
			t.Errorf("Named(%q): %v; want an error with that name and those that exist", name, err)
		}
	}
}

// The environment decides once, so every value needs a process of its own.
func TestEnvironment(t *testing.T) {
	if want, ok := os.LookupEnv(child); ok {
		table, err := Default()
		again, errAgain := Default()
		switch {
		case table != again || err != errAgain:
			t.Errorf("Default changed from %v, %v to %v, %v", table, err, again, errAgain)
		case want == "error" && (err == nil || !strings.Contains(err.Error(), os.Getenv(Environment))):
			t.Errorf("Default is %v, %v; want an error that names %s", table, err, os.Getenv(Environment))
		case want != "error" && (err != nil || table.Name != want):
			t.Errorf("Default is %v, %v; want %s", table, err, want)
		}
		return
	}
	values := map[string]string{"": Tables()[0].Name, "sse9": "error"} // what Default has to be
	for _, table := range Tables() {
		values[table.Name] = table.Name
	}
	for value, want := range values {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironment$")
		cmd.Env = append(os.Environ(), Environment+"="+value, child+"="+want)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s=%s: %v\n%s", Environment, value, err, out)
		}
	}
}

func address(x []float32) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(x))) }

func TestAligned(t *testing.T) {
	for n := range 70 {
		x := Aligned(n)
		if len(x) != n || cap(x) != n {
			t.Errorf("Aligned(%d) has length %d and capacity %d", n, len(x), cap(x))
		}
		if address(x)%64 != 0 {
			t.Errorf("Aligned(%d) is at %#x", n, address(x))
		}
		for i, v := range x {
			if v != 0 {
				t.Errorf("Aligned(%d)[%d] = %g", n, i, v)
			}
		}
	}
}

func TestScratch(t *testing.T) {
	workers := pool.New(3)
	defer workers.Close()
	c := NewContext(Tables()[0], workers)
	if c.Name != Tables()[0].Name || c.Pool != workers {
		t.Errorf("a context of %s with pool %p, want %s and %p", c.Name, c.Pool, Tables()[0].Name, workers)
	}
	// All areas are in use at a time: none may overlap another.
	get := func(n int) [][]float32 {
		return [][]float32{c.Shared(n), c.Scratch(0, n), c.Scratch(1, n), c.Scratch(2, n)}
	}
	for _, n := range []int{0, 1, 100, 17, 1000} {
		areas := get(n)
		for k, x := range areas {
			if len(x) != n {
				t.Errorf("area %d has %d floats, want %d", k, len(x), n)
			}
			if n > 0 && address(x)%64 != 0 {
				t.Errorf("area %d of %d floats is at %#x", k, n, address(x))
			}
			for i := range x {
				x[i] = float32(k)
			}
		}
		for k, x := range areas {
			for i, v := range x {
				if v != float32(k) {
					t.Fatalf("areas of %d floats: [%d][%d] belongs to area %g too", n, k, i, v)
				}
			}
		}
	}
	if n := testing.AllocsPerRun(10, func() { c.Scratch(1, 1000); c.Scratch(1, 10); c.Shared(1000); c.Scratch(1, 999) }); n != 0 {
		t.Errorf("%v allocations for scratch that was there", n)
	}
}
