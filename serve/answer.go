package serve

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/doob-diffusion/doob/experiment"
)

// answer writes JSON.
func answer(w http.ResponseWriter, code int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error": "the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	w.Write(append(text, '\n')) // who has gone misses nothing
}

// refuse says why not: to programs in JSON.
func refuse(w http.ResponseWriter, r *http.Request, code int, why string) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		answer(w, code, map[string]string{"error": why})
		return
	}
	http.Error(w, why, code)
}

// codeOf is the code for why nothing was put into the queue.
func codeOf(err error) int {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errSource):
		return http.StatusNotFound
	case errors.Is(err, errUnfinished):
		return http.StatusConflict
	case errors.Is(err, errQueue):
		return http.StatusTooManyRequests
	case errors.Is(err, errRequest), errors.Is(err, experiment.ErrFolder), errors.Is(err, experiment.ErrConfig):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}
