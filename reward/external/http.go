package external

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
)

// server is asked by HTTP.
type server struct {
	url    string
	client *http.Client
}

var _ judge = (*server)(nil)

func newServer(url string) *server {
	// A client that follows redirections would turn a POST into a GET.
	return &server{url, &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Close implements [io.Closer].
func (s *server) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// ask implements [judge].
func (s *server) ask(ctx context.Context, b *batch) ([]byte, error) {
	var body bytes.Buffer
	if err := checkpoint.Write(&body, b.file()); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	req.Header.Set("Accept", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, broken(ctx, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, int64(b.longest())+1))
	switch status := resp.StatusCode; {
	case err != nil:
		return nil, broken(ctx, err)
	case status == http.StatusTooManyRequests || status >= 500:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After")) // 0 if it is none, or a date
		return nil, again{fmt.Errorf("%w: %s: %s", ErrStatus, resp.Status, excerpt(text)), time.Duration(max(0, seconds)) * time.Second}
	case status/100 == 3:
		return nil, fmt.Errorf("%w: %s to %q: want the address itself", ErrStatus, resp.Status, resp.Header.Get("Location"))
	case status/100 != 2:
		return nil, fmt.Errorf("%w: %s: %s", ErrStatus, resp.Status, excerpt(text))
	case len(text) > b.longest():
		return nil, fmt.Errorf("%w: got more than %d bytes: %s", ErrAnswer, b.longest(), excerpt(text))
	}
	return text, nil
}

// broken says why there is no answer.
func broken(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrLate) {
		return again{error: cause}
	} else if cause != nil {
		return cause
	}
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err // the address is known
	}
	return again{error: fmt.Errorf("%w: %w", ErrConnection, err)}
}
