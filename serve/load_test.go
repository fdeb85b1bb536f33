package serve

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/internal/machine"
)

// Many requests at the same time, for as long as DOOB_LOAD says (such as 60s): whatever they ask for, they have an answer or are asked to come again, and in the
// end the server takes no more memory than after the first sixth. It is a benchmark's length, so it is skipped unless it is asked for:
//
//	DOOB_LOAD=60s go test ./serve -run TestLoad -v
func TestLoad(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("DOOB_LOAD"))
	if err != nil {
		t.Skip("DOOB_LOAD does not say how long")
	}
	s, runs := drawer(t), runsOf(t)
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200}}
	type call struct{ method, path, body string }
	sample := fmt.Sprintf(`{"from": "%s/a", "n": 16, "steps": 3, "sample": {"format": "csv"}}`, runs)
	calls := []call{{"GET", "/", ""}, {"GET", "/?run=" + runs + "/a", ""}, {"GET", "/draw?from=" + runs + "/b", ""}, {"GET", "/api/jobs", ""}, {"POST", "/api/jobs", sample},
		{"GET", "/api/source?name=" + runs + "/a", ""}, {"GET", "/metrics", ""}, {"GET", "/events?once=1&run=" + runs + "/a", ""}, {"GET", "/healthz", ""}}
	var mutex sync.Mutex
	codes, end := map[int]int{}, time.Now().Add(length)
	var clients sync.WaitGroup
	for i := range 200 {
		clients.Go(func() {
			for j := i; time.Now().Before(end); j++ {
				c := calls[j%len(calls)]
				r, err := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.body))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				answer, err := client.Do(r)
				if err != nil {
					t.Errorf("%s %s: %v", c.method, c.path, err)
					return
				}
				text, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode >= 300 && answer.StatusCode != http.StatusTooManyRequests {
					t.Errorf("%s %s: code %d, %v: %.300s", c.method, c.path, answer.StatusCode, err, text)
				}
				mutex.Lock()
				codes[answer.StatusCode]++
				mutex.Unlock()
			}
		})
	}
	time.Sleep(length / 6)
	early, earlyHeap := machine.Resident(), heap()
	clients.Wait()
	late, lateHeap := machine.Resident(), heap()
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		t.Logf("code %d: %d", code, codes[code])
	}
	t.Logf("after a sixth: %.1f MB resident, %.1f MB of heap in use; in the end %.1f and %.1f; jobs remembered: %d", early/1e6, earlyHeap/1e6, late/1e6, lateHeap/1e6, len(s.studio.list()))
	if lateHeap > 1.2*earlyHeap+10e6 {
		t.Errorf("memory grows from %.1f to %.1f MB", earlyHeap/1e6, lateHeap/1e6)
	}
	if codes[200] == 0 || codes[202] == 0 {
		t.Error("nothing was answered, or nothing put into the queue")
	}
}
