package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A model comes from a hub, and on a disk that is full the command says so and leaves what it has, to go on with.
func TestDataGetModel(t *testing.T) {
	weights := bytes.Repeat([]byte("weights "), 4000)
	digest := sha256.Sum256(weights)
	var ranges []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/models/OWNER/NAME/revision/") {
			json.NewEncoder(w).Encode(map[string]any{"sha": strings.Repeat("0a", 20), "siblings": []any{map[string]any{"rfilename": "adapter_model.safetensors",
				"lfs": map[string]any{"sha256": hex.EncodeToString(digest[:]), "size": len(weights)}}}})
			return
		}
		ranges = append(ranges, r.Header.Get("Range"))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(weights))
	}))
	defer server.Close()
	home := t.TempDir()
	get := func(program, size string) (out, complaint string, code int) {
		cmd := exec.Command(program, "data", "get", "hf:OWNER/NAME")
		cmd.Env = append(os.Environ(), "HF_ENDPOINT="+server.URL, "HF_HOME="+home, "HF_HUB_CACHE=", "HF_TOKEN=", "HF_TOKEN_PATH=", "DOOB_FILE_SIZE="+size)
		var o, e strings.Builder
		cmd.Stdout, cmd.Stderr = &o, &e
		cmd.Run()
		return o.String(), e.String(), cmd.ProcessState.ExitCode()
	}
	_, complaint, code := get("doob-small-disk", "16384")
	if code != exitFailure || !strings.Contains(complaint, "file too large") || !strings.Contains(complaint, "hf:OWNER/NAME@main: "+server.URL) {
		t.Errorf("exit code %d, want 1 and the cause: %s", code, complaint)
	}
	out, complaint, code := get("doob", "")
	folder := strings.TrimSpace(out)
	if b, err := os.ReadFile(filepath.Join(folder, "adapter_model.safetensors")); code != 0 || err != nil || !bytes.Equal(b, weights) {
		t.Errorf("exit code %d, %d bytes (%v): %s", code, len(b), err, complaint)
	}
	if len(ranges) != 2 || ranges[0] != "" || ranges[1] != "bytes=16384-" {
		t.Errorf("asked for %q, want all and then the rest", ranges)
	}
}
