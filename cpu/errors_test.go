package cpu_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/doob-diffusion/doob/cpu"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// child is set in the environment of a test that runs itself in another process.
const child = "CPU_TEST_CHILD"

func TestNew(t *testing.T) {
	for _, config := range []string{"sse9", "workers=0", "workers=-1", "workers=many", "workers", "workers=2,sse9", "generic,workers=", "direct=1", "generic=1", "Direct", " generic", "bf16=1", "BF16"} {
		if b, err := cpu.New(config); err == nil {
			b.Finalize()
			t.Errorf("%q was taken", config)
		} else if !strings.HasPrefix(err.Error(), "cpu: ") {
			t.Errorf("%q: %v does not say who complains", config, err)
		}
	}
	for config, want := range map[string]string{"generic,workers=3": "generic, 3 threads", "workers=2,,generic,direct": "generic, 2 threads", "bf16,generic": "generic, products in bfloat16, "} {
		b := open(t, config)
		if got := b.Description(); !strings.Contains(got, want) {
			t.Errorf("%q is described as %q, want %q", config, got, want)
		}
		if b.Name() != cpu.Name || b.String() != cpu.Name || b.NumDevices() != 1 || b.DeviceDescription(0) != b.Description() {
			t.Errorf("%q: name %q, %d devices, the first %q", config, b.Name(), b.NumDevices(), b.DeviceDescription(0))
		}
	}
	// The backend is registered.
	b, err := compute.NewWithConfig("cpu:generic,workers=1")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := b.(*cpu.Backend); !ok || !strings.Contains(b.Description(), "generic, 1 threads") {
		t.Errorf("cpu:generic,workers=1 is %s", b.Description())
	}
	if b.Finalize(); !b.IsFinalized() {
		t.Error("not finalized")
	}
	b.Finalize()
}

// The environment chooses the instruction set, unless the configuration does. It is read once per process.
func TestEnvironment(t *testing.T) {
	if want, ok := os.LookupEnv(child); ok {
		b, err := cpu.New("workers=1")
		switch {
		case want == "error":
			if err == nil || !strings.Contains(err.Error(), "sse9") || !strings.Contains(err.Error(), kern.Environment) {
				t.Errorf("error %v, want one that names the variable and its value", err)
			}
		case err != nil || !strings.Contains(b.Description(), want):
			t.Errorf("%v, %v; want %s", b, err, want)
		}
		if b, err = cpu.New("generic"); err != nil || !strings.Contains(b.Description(), "generic") {
			t.Errorf("the configuration does not prevail: %v, %v", b, err)
		}
		return
	}
	values := map[string]string{"": kern.Tables()[0].Name, "sse9": "error"}
	for _, table := range kern.Tables() {
		values[table.Name] = table.Name
	}
	for value, want := range values {
		cmd := exec.Command(os.Args[0], "-test.run=^TestEnvironment$")
		cmd.Env = append(os.Environ(), kern.Environment+"="+value, child+"="+want)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s=%s: %v\n%s", kern.Environment, value, err, out)
		}
	}
}

func TestExecuteErrors(t *testing.T) {
	b, other := open(t, ""), open(t, "")
	program := compile(t, b, [][]int{{3}, {2, 2}}, func(f recorder, in []compute.Value) []compute.Value {
		return []compute.Value{must(f.Neg(in[0])), must(f.Exp(in[1]))}
	})
	x, y := upload(t, b, make([]float32, 3), 3), upload(t, b, make([]float32, 4), 2, 2)
	gone := upload(t, b, make([]float32, 3), 3)
	if err := gone.Finalize(); err != nil {
		t.Fatal(err)
	}
	integers, err := b.BufferFromFlatData(0, make([]int32, 3), shapes.Make(dtypes.Int32, 3))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		in     []compute.Buffer
		donate []bool
		device compute.DeviceNum
		want   []string
	}{
		{name: "too few", in: []compute.Buffer{x}, want: []string{"1", "2"}},
		{name: "too many", in: []compute.Buffer{x, y, x}, want: []string{"3", "2"}},
		{name: "donations", in: []compute.Buffer{x, y}, donate: []bool{true}, want: []string{"2"}},
		{name: "shape", in: []compute.Buffer{x, x}, want: []string{"x1", "[3]", "[2, 2]"}},
		{name: "type", in: []compute.Buffer{integers, y}, want: []string{"x0", "Int32", "Float32"}},
		{name: "another backend", in: []compute.Buffer{x, upload(t, other, make([]float32, 4), 2, 2)}, want: []string{"x1", "another backend"}},
		{name: "another kind of backend", in: []compute.Buffer{x, upload(t, stockBackend(t), make([]float32, 4), 2, 2)}, want: []string{"x1", "another backend"}},
		{name: "nothing", in: []compute.Buffer{nil, y}, want: []string{"x0"}},
		{name: "finalized", in: []compute.Buffer{gone, y}, want: []string{"x0", "finalized"}},
		{name: "device", in: []compute.Buffer{x, y}, device: 1, want: []string{"device 1"}},
	} {
		_, err := program.Execute(c.in, c.donate, c.device)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", c.name, err, want)
			}
		}
	}
	// A mistake in one execution is none in the next, and donates nothing.
	if _, err := program.Execute([]compute.Buffer{x, x}, []bool{true, true}, 0); err == nil {
		t.Error("the shape was taken")
	}
	if _, err := program.Execute([]compute.Buffer{x, y}, nil, 0); err != nil {
		t.Error(err)
	}
	names, inputs := program.Inputs()
	if len(names) != 2 || names[1] != "x1" || !inputs[1].Equal(shapes.Make(dtypes.Float32, 2, 2)) {
		t.Errorf("inputs %v %v", names, inputs)
	}
	program.Finalize()
	if _, err := program.Execute([]compute.Buffer{x, y}, nil, 0); err == nil || !strings.Contains(err.Error(), "finalized") {
		t.Errorf("a finalized program: %v", err)
	}
	program.Finalize()
}

func TestBufferErrors(t *testing.T) {
	b := open(t, "")
	vector := shapes.Make(dtypes.Float32, 3)
	for name, flat := range map[string]any{"too long": make([]float32, 4), "too short": make([]float32, 2), "type": make([]int32, 3), "no slice": float32(1), "nothing": nil} {
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%s: panic: %v", name, r)
				}
			}()
			if _, err := b.BufferFromFlatData(0, flat, vector); err == nil {
				t.Errorf("%s was taken", name)
			}
			if err := upload(t, b, make([]float32, 3), 3).ToFlatData(flat); err == nil {
				t.Errorf("%s was filled", name)
			}
		}()
	}
	if _, err := b.BufferFromFlatData(1, make([]float32, 3), vector); err == nil {
		t.Error("there is only device 0")
	}
	x := upload(t, b, []float32{1, 2, 3}, 3)
	y, err := x.CopyToDevice(0)
	if err != nil {
		t.Fatal(err)
	}
	data(t, x)[0] = 5
	if got := data(t, y)[0]; got != 1 {
		t.Error("a copy shares memory with the original")
	}
	if _, err := x.CopyToDevice(1); err == nil {
		t.Error("copied to a device that is not there")
	}
	if n, err := x.DeviceNum(); n != 0 || err != nil {
		t.Errorf("device %d, %v", n, err)
	}
}

func TestBuilderErrors(t *testing.T) {
	b := open(t, "")
	builder := b.Builder("program")
	if builder.Name() != "program" || builder.Main().Name() != compute.MainName {
		t.Errorf("names %q and %q", builder.Name(), builder.Main().Name())
	}
	if _, err := builder.Compile(); err == nil || !strings.Contains(err.Error(), "Return") {
		t.Errorf("compiled without Return: %v", err)
	}
	f := recorder{builder.Main()}
	x := f.param("x", 2, 3)
	if _, err := f.Add(x, must(f.Constant([]float32{1, 2}, 2))); err == nil {
		t.Error("shapes that do not fit were added")
	}
	if _, err := f.Constant(float32(1)); err == nil {
		t.Error("a constant that is no slice was taken")
	}
	if err := f.Return([]compute.Value{x}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := builder.Compile(); err != nil {
		t.Fatal(err)
	}
	if _, err := builder.Compile(); err == nil {
		t.Error("compiled twice")
	}
}

// What the stock backend panics with is the error of the execution too, here a division by zero.
func TestPanicOfStockBackend(t *testing.T) {
	b := open(t, "workers=2")
	builder := b.Builder("divide")
	f := recorder{builder.Main()}
	shape := shapes.Make(dtypes.Int32, 2)
	x, y := must(f.Parameter("x", shape, nil)), must(f.Parameter("y", shape, nil))
	if err := f.Return([]compute.Value{must(f.Div(x, y))}, nil); err != nil {
		t.Fatal(err)
	}
	program, err := builder.Compile()
	if err != nil {
		t.Fatal(err)
	}
	for _, divisor := range []int32{2, 0, 3} {
		in := []compute.Buffer{must(b.BufferFromFlatData(0, []int32{6, 12}, shape)), must(b.BufferFromFlatData(0, []int32{divisor, 1}, shape))}
		out, err := program.Execute(in, nil, 0)
		if divisor == 0 {
			if err == nil || !strings.Contains(err.Error(), "divide") {
				t.Errorf("6/0 has error %v", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := must(out[0].Data()).([]int32); got[0] != 6/divisor || got[1] != 12 {
			t.Errorf("6/%d and 12/1 are %v", divisor, got)
		}
	}
}

// Programs still run after the threads have ended, on the caller's.
func TestFinalizedBackend(t *testing.T) {
	b, err := cpu.New("workers=4")
	if err != nil {
		t.Fatal(err)
	}
	program := compile(t, b, [][]int{{100000}}, func(f recorder, in []compute.Value) []compute.Value { return []compute.Value{must(f.Exp(in[0]))} })
	x := upload(t, b, make([]float32, 100000), 100000)
	b.Finalize()
	out, err := program.Execute([]compute.Buffer{x}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range data(t, out[0]) {
		if v != 1 {
			t.Fatalf("exp 0 is %g", v)
		}
	}
}
