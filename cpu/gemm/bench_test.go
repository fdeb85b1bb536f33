package gemm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/cpu/kern"
	"github.com/doob-diffusion/doob/cpu/pool"
)

// BenchmarkRun reports the rate of the fastest run, as other programs may take processor time from the rest.
func BenchmarkRun(b *testing.B) {
	p := pool.New(0)
	defer p.Close()
	r := rand.New(rand.NewPCG(1, 2))
	for _, table := range kern.Tables() {
		if table.Name == "generic" {
			continue
		}
		ctx := kern.NewContext(table, p)
		for _, spec := range []Spec{
			{M: 512, N: 512, K: 512},
			{M: 1024, N: 1024, K: 1024},
			{M: 2048, N: 2048, K: 2048},
			{M: 50176, N: 64, K: 64},
			{M: 50176, N: 64, K: 576},
			{M: 12544, N: 128, K: 1152},
			{M: 12544, N: 256, K: 2304},
			{M: 1024, N: 1024, K: 1024, TransB: true},
			{M: 1024, N: 1024, K: 1024, TransA: true},
			{M: 64, N: 64, K: 50176, TransA: true},
			{M: 128, N: 512, K: 512},
			{M: 128, N: 512, K: 512, TransB: true},
			{M: 512, N: 512, K: 128, TransA: true},
			{M: 64, N: 256, K: 2},
			{M: 128, N: 1, K: 256},
			{M: 1, N: 512, K: 512},
			{M: 49, N: 49, K: 64, TransB: true, Batch: []Axis{{256, 49 * 64, 49 * 64, 49 * 49}}},
			{M: 256, N: 256, K: 64, TransB: true, Batch: []Axis{{64, 256 * 64, 256 * 64, 256 * 256}}},
			{M: 256, N: 64, K: 256, Batch: []Axis{{64, 256 * 256, 256 * 64, 256 * 64}}},
		} {
			form := map[[2]bool]string{{false, false}: "NN", {false, true}: "NT", {true, false}: "TN"}[[2]bool{spec.TransA, spec.TransB}]
			b.Run(fmt.Sprintf("%s/%s_%dx%dx%dx%d", table.Name, form, spec.batches(), spec.M, spec.N, spec.K), func(b *testing.B) {
				q := newProblem(r, spec, false, false)
				g, err := Prepare(spec)
				if err != nil {
					b.Fatal(err)
				}
				best := time.Hour
				for b.Loop() {
					start := time.Now()
					g.Run(ctx, q.c, q.a, q.b, nil, nil)
					best = min(best, time.Since(start))
				}
				flops := 2 * float64(spec.batches()) * float64(spec.M) * float64(spec.N) * float64(spec.K)
				b.ReportMetric(flops/best.Seconds()/1e9, "GFLOP/s")
				b.ReportMetric(float64(best.Nanoseconds())/1e3, "best-µs")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
