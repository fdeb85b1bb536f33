package bench

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/serve"
)

// BenchmarkPages times what a browser asks for to show 50 runs of 1,000 iterations: the list of runs, the page that has them side by side, the curves of that page when the
// server has just begun, and again when it has read the runs.
func BenchmarkPages(b *testing.B) {
	const runs, iterations = 50, 1000
	dir := filepath.Join(b.TempDir(), "runs")
	side := url.Values{}
	for i := range runs {
		name := fmt.Sprintf("r%02d", i)
		var events strings.Builder
		for j := 1; j <= iterations; j++ {
			x := float64(i+j) / 3
			fmt.Fprintf(&events, `{"seed":1,"stage":"importance","done":%[1]d,"total":%[2]d,"iteration":{"iteration":%[1]d,"iterations":%[2]d,"paths":1024,"non_finite":0,"reward":%[3]v,"ess_fraction":%[3]v,`+
				`"log_z":%[3]v,"log_z_se":%[3]v,"l_sc":%[3]v,"l_sc_se":%[3]v,"kl":%[3]v,"kl_se":%[3]v,"kl_base":%[3]v,"k_hat":%[3]v,"reliable":true,"kl_reliable":true,"reason":"in what the paths reach",`+
				`"acceptance":%[3]v,"log_c":%[3]v,"loss":%[3]v,"network_calls":163840,"seconds":%[3]v}}`+"\n", j, iterations, x)
		}
		if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
			b.Fatal(err)
		}
		for file, text := range map[string]string{"config.yaml": configuration(i), "events.jsonl": events.String()} {
			if err := os.WriteFile(filepath.Join(dir, name, file), []byte(text), 0o666); err != nil {
				b.Fatal(err)
			}
		}
		side.Add("run", "runs/"+name)
	}
	opened := func(b *testing.B) *serve.Server {
		s, err := serve.New([]string{dir}, "")
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	get := func(b *testing.B, s *serve.Server, target string) {
		r := httptest.NewRequest("GET", target, nil)
		r.Host = "localhost"
		w := httptest.NewRecorder()
		if s.Handler().ServeHTTP(w, r); w.Code != 200 {
			b.Fatalf("%s: code %d: %.300s", target, w.Code, w.Body)
		}
		b.ReportMetric(float64(w.Body.Len()), "bytes")
	}
	for _, part := range []struct{ name, target string }{{"list", "/"}, {"page", "/?" + side.Encode()}, {"curves", "/events?once=1&" + side.Encode()}} {
		for _, warm := range []bool{false, true} {
			b.Run(fmt.Sprint(part.name, map[bool]string{false: " first", true: " again"}[warm]), func(b *testing.B) {
				s := opened(b)
				if warm {
					get(b, s, part.target)
				}
				for b.Loop() {
					if !warm {
						s = opened(b)
					}
					get(b, s, part.target)
				}
			})
		}
	}
}

// configuration is of the length that those of real runs have.
func configuration(run int) string {
	text := fmt.Sprintf("experiment: toy\nseed: %d\nmethods: [importance]\n", run)
	for _, method := range strings.Fields("importance reward_only online vargrad raft cem rest neutral dpok ddpo adjoint_matching guidance") {
		text += method + ": {iterations: 16, paths: 1024, buffer: 4096, updates: 120, batch: 256, learning_rate: 0.006, weight_decay: 0.0, clip_norm: 0.0, ema: 0.995, kl: 0.0001, acceptance: [0.1, 0.3]}\n"
	}
	return text
}
