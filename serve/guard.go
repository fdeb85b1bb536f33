package serve

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
)

// headers forbid everything that these pages do not need: scripts, styles, pictures and connections from elsewhere, frames, guesses of types.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// bounded turns away requests beyond those that can be answered at the same time, and large ones. Readers of events are counted by themselves.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		places := s.busy
		if r.URL.Path == "/events" {
			places = s.streams
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			w.Header().Set("Retry-After", "1")
			refuse(w, r, http.StatusTooManyRequests, "too many requests at the same time, ask again")
			return
		}
		body := int64(mostBody)
		if r.URL.Path == "/draw" || r.URL.Path == "/api/jobs" { // which few can send at a time
			body = mostUpload
		}
		r.Body = http.MaxBytesReader(w, r.Body, body)
		next.ServeHTTP(w, r)
	})
}

// guarded asks for the token. Without one only those are answered who have asked for this machine by one of its own names, so that a foreign page
// cannot read what is here by a name that leads here.
func (s *Server) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open := r.URL.Path == "/healthz" || r.URL.Path == "/login" || r.URL.Path == "/style.css"
		switch {
		case s.token == "" && !local(r.Host):
			refuse(w, r, http.StatusMisdirectedRequest, "this server answers at localhost only")
		case s.token == "" || open || s.admitted(r):
			next.ServeHTTP(w, r)
		case r.URL.Path == "/" && r.Method == http.MethodGet:
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		default:
			w.Header().Set("WWW-Authenticate", `Bearer realm="doob"`)
			refuse(w, r, http.StatusUnauthorized, "want the token of this server: as Authorization: Bearer, or by /login")
		}
	})
}

func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && address.IsLoopback()
}

const cookie = "doob"

// admitted reports whether a request has the token, or the cookie that the token was exchanged for.
func (s *Server) admitted(r *http.Request) bool {
	if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return same(given, s.token)
	}
	c, err := r.Cookie(cookie)
	return err == nil && same(c.Value, s.pass())
}

// pass is what the cookie holds: it opens this server, and does not tell the token.
func (s *Server) pass() string {
	mac := hmac.New(sha256.New, []byte(s.token))
	mac.Write([]byte("doob serve"))
	return hex.EncodeToString(mac.Sum(nil))
}

// same compares without telling by its time where a difference is, or of what length the secret is.
func same(given, secret string) bool {
	a, b := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(secret))
	return hmac.Equal(a[:], b[:])
}

// login exchanges the token for a cookie.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "want a form of at most 4 kB", http.StatusBadRequest)
		return
	}
	if s.token != "" && !same(r.PostForm.Get("token"), s.token) {
		w.WriteHeader(http.StatusForbidden)
		s.render(w, "login", "This is not the token.")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookie, Value: s.pass(), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) loginPage(w http.ResponseWriter, _ *http.Request) { s.render(w, "login", "") }

// counts are of answers by their codes.
type counts struct {
	mutex sync.Mutex
	codes map[int]int
}

func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &coded{ResponseWriter: w, code: http.StatusOK}
		defer func() {
			s.counts.mutex.Lock()
			defer s.counts.mutex.Unlock()
			if s.counts.codes == nil {
				s.counts.codes = map[int]int{}
			}
			s.counts.codes[c.code]++
		}()
		next.ServeHTTP(c, r)
	})
}

// coded notes the code of an answer.
type coded struct {
	http.ResponseWriter
	code int
}

func (c *coded) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap is for [http.ResponseController].
func (c *coded) Unwrap() http.ResponseWriter { return c.ResponseWriter }
