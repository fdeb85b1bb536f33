package data

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrHub says that a repository, or a file of it, cannot be had from the hub.
var ErrHub = errors.New("hub")

// Hub is a server of models that speaks as huggingface.co does, with the cache that Python's huggingface_hub has on this machine: what one of the two
// has fetched, the other one finds. [HubHere] returns the one that the environment says.
type Hub struct {
	Endpoint string // such as https://huggingface.co
	Token    string // for what is not public; sent to the endpoint's host and to no other
	Cache    string // folder of the cache
}

// HubHere returns the hub by the variables that Python's library reads: HF_ENDPOINT; HF_TOKEN, HF_TOKEN_PATH; HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME.
func HubHere() (Hub, error) {
	home := os.Getenv("HF_HOME")
	if home == "" {
		caches := os.Getenv("XDG_CACHE_HOME")
		if caches == "" {
			user, err := os.UserHomeDir()
			if err != nil {
				return Hub{}, fmt.Errorf("no place for models: %w; set HF_HOME to a folder", err)
			}
			caches = filepath.Join(user, ".cache")
		}
		home = filepath.Join(caches, "huggingface")
	}
	or := func(name, missing string) string {
		if v := os.Getenv(name); v != "" {
			return v
		}
		return missing
	}
	h := Hub{Endpoint: strings.TrimSuffix(or("HF_ENDPOINT", "https://huggingface.co"), "/"), Cache: or("HF_HUB_CACHE", filepath.Join(home, "hub")), Token: os.Getenv("HF_TOKEN")}
	if h.Token == "" {
		token, err := os.ReadFile(or("HF_TOKEN_PATH", filepath.Join(home, "token")))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return Hub{}, err
		}
		h.Token = strings.TrimSpace(string(token))
	}
	return h, nil
}

// Repository names a model on a hub.
type Repository struct {
	Name     string // OWNER/NAME
	Revision string // branch, tag or commit
}

var repositoryName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?$`)

// ParseRepository takes OWNER/NAME[@REVISION] apart. Without a revision it is main.
func ParseRepository(s string) (Repository, error) {
	name, revision, given := strings.Cut(s, "@")
	if !given {
		revision = "main"
	}
	if !repositoryName.MatchString(name) || strings.Contains(name, "--") || strings.Contains(name, "..") || !filepath.IsLocal(filepath.FromSlash(revision)) {
		return Repository{}, fmt.Errorf("%w: got repository %q, want OWNER/NAME or OWNER/NAME@REVISION", ErrHub, s)
	}
	return Repository{name, revision}, nil
}
