package data

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// hubFile is what a hub says of a file of a repository.
type hubFile struct {
	Name string `json:"rfilename"`
	Size int64  `json:"size"`
	Blob string `json:"blobId"` // Git's name for the content
	LFS  *struct {
		Sum  string `json:"sha256"`
		Size int64  `json:"size"`
	} `json:"lfs"`
}

// published returns what the file must be. Large files are known by their SHA-256, others by Git's name for them.
func (f hubFile) published() published {
	address := (&url.URL{Path: f.Name}).EscapedPath()
	if f.LFS != nil {
		return published{address, f.LFS.Size, f.LFS.Sum}
	}
	return published{address, f.Size, f.Blob}
}

// Get fetches files of a repository into the cache, those that [Want] says, and returns the folder that has them under their names. What is there is
// not fetched again, and what was begun, by Python too, goes on where it was. Every file must have the size and sum that the hub has told.
func (h Hub) Get(ctx context.Context, r Repository, want Want, observe func(Progress)) (string, error) {
	dir, err := h.get(ctx, r, want, observe)
	if err != nil {
		return "", fmt.Errorf("hf:%s@%s: %w", r.Name, r.Revision, err)
	}
	return dir, nil
}

func (h Hub) get(ctx context.Context, r Repository, want Want, observe func(Progress)) (string, error) {
	client := &http.Client{Transport: h.authorised()}
	commit, all, err := h.list(ctx, client, r)
	if err != nil {
		return "", err
	}
	files, err := want.choose(all)
	if err != nil {
		return "", err
	}
	c := hubCache{filepath.Join(h.Cache, "models--"+strings.ReplaceAll(r.Name, "/", "--"))}
	if err := c.room(files); err != nil {
		return "", err
	}
	d := download{client: client, patience: 30 * time.Second, suffix: ".incomplete", observe: observe}
	for _, f := range files {
		if err := c.fetch(ctx, d, fmt.Sprintf("%s/%s/resolve/%s/", h.Endpoint, r.Name, commit), commit, f); err != nil {
			return "", h.explain(r, err)
		}
	}
	return c.snapshot(commit), c.remember(r.Revision, commit)
}

var commitName = regexp.MustCompile(`^[0-9a-f]{40}$`)

// list asks for the commit that a revision is, and its files.
func (h Hub) list(ctx context.Context, client *http.Client, r Repository) (commit string, files []hubFile, err error) {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", h.Endpoint, r.Name, url.PathEscape(r.Revision))
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", nil, err
	}
	answer, err := client.Do(request)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrHub, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return "", nil, h.explain(r, fmt.Errorf("%s: got status %w", address, statusError(answer.StatusCode)))
	}
	var info struct {
		Commit string    `json:"sha"`
		Files  []hubFile `json:"siblings"`
	}
	const most = 64 << 20
	if err := json.NewDecoder(io.LimitReader(answer.Body, most)).Decode(&info); err != nil {
		return "", nil, fmt.Errorf("%w: %s: %w", ErrHub, address, err)
	}
	if !commitName.MatchString(info.Commit) {
		return "", nil, fmt.Errorf("%w: %s: got commit %q, expected 40 hexadecimal digits", ErrHub, address, info.Commit)
	}
	return info.Commit, info.Files, nil
}

// explain says what to do about an answer that is no file.
func (h Hub) explain(r Repository, err error) error {
	page, status := h.Endpoint+"/"+r.Name, statusError(0)
	if !errors.As(err, &status) {
		return err
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		what := "a token is needed: make one in your settings there and set HF_TOKEN to it"
		if h.Token != "" {
			what = "the token does not give access"
		}
		return fmt.Errorf("%w: %w\nEither there is no such repository, or it is not open to all, and %s. If %s asks to accept a licence, do that first, in a browser",
			ErrHub, err, what, page)
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w\nThere is no such repository or revision: see %s", ErrHub, err, page)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w\nToo many requests: wait some minutes; the same command continues where this one ended", ErrHub, err)
	}
	return fmt.Errorf("%w: %w", ErrHub, err)
}

// authorised sends the token to the endpoint's host, and not to those that it sends on to.
func (h Hub) authorised() http.RoundTripper {
	endpoint, err := url.Parse(h.Endpoint)
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		if err == nil && h.Token != "" && r.URL.Host == endpoint.Host && r.URL.Scheme == endpoint.Scheme {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+h.Token)
		}
		return http.DefaultTransport.RoundTrip(r)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
