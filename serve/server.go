package serve

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"

	"github.com/doob-diffusion/doob/experiment"
)

// Server shows the runs in some folders, and draws samples from them if it is told to.
type Server struct {
	collection *collection
	token      string
	// Poll is how often events are looked for.
	Poll time.Duration

	studio  *studio // nil without Infer
	counts  counts
	busy    chan struct{} // requests that are being answered
	streams chan struct{} // readers of events
}

// Bounds: of requests and readers at the same time, of what a request may say, and of the time that it may take to say it or to take the answer.
const (
	mostRequests = 64
	mostStreams  = 32
	mostShown    = 64 // runs on one page
	mostBody     = 4 << 10
	mostHeader   = 16 << 10
	toAsk        = 10 * time.Second
	toAnswer     = time.Minute
	toDownload   = time.Hour
)

// minToken is how many characters a token has at least.
const minToken = 16

// ErrToken says that a server that others can reach would have no token, or one that can be guessed.
var ErrToken = errors.New("serve: want a token")

// New returns a server of runs: folders are run folders, or have run folders in them. With a token it is asked for.
func New(folders []string, token string) (*Server, error) {
	if token != "" && len(token) < minToken {
		return nil, fmt.Errorf("%w of at least %d characters, got one of %d; openssl rand -hex 16 makes one", ErrToken, minToken, len(token))
	}
	l, err := newCollection(folders)
	if err != nil {
		return nil, err
	}
	return &Server{collection: l, token: token, Poll: 500 * time.Millisecond, busy: make(chan struct{}, mostRequests), streams: make(chan struct{}, mostStreams)}, nil
}

// Close ends what is drawn, and releases the folders.
func (s *Server) Close() (err error) {
	if s.studio != nil {
		err = s.studio.close()
	}
	return errors.Join(err, s.collection.close())
}

// Listen opens an address, which without a token must be one of this machine only.
func (s *Server) Listen(address string) (net.Listener, error) {
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve: address %q: %w; want one such as 127.0.0.1:8080", address, err)
	}
	if s.token == "" && !at.IP.IsLoopback() {
		return nil, fmt.Errorf("%w: at %s others could read these runs; set DOOB_TOKEN to at least %d characters that nobody guesses, or listen at 127.0.0.1", ErrToken, address, minToken)
	}
	return net.ListenTCP("tcp", at)
}

// Serve answers until the context ends.
func (s *Server) Serve(ctx context.Context, at net.Listener) error {
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: toAsk, ReadTimeout: toAsk, WriteTimeout: toAnswer, IdleTimeout: toAnswer, MaxHeaderBytes: mostHeader,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		ended <- server.Shutdown(patience)
	}()
	if err := server.Serve(at); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	if err := <-ended; err != nil { // who still downloads is cut off
		return server.Close()
	}
	return nil
}

//go:embed page.html draw.html style.css script.js draw.js openapi.json
var assets embed.FS

var pages = template.Must(template.New("").Funcs(template.FuncMap{"bytes": bytesText, "ago": ago, "file": fileURL, "in": func(run string, f experiment.File) picture { return picture{run, f.Name} }, "settings": settings}).ParseFS(assets, "page.html", "draw.html"))

// Handler answers all requests, within the bounds.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /events", s.stream)
	mux.HandleFunc("GET /file", s.file)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /login", s.loginPage)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("GET /draw", s.drawing(s.drawPage))
	mux.HandleFunc("POST /draw", s.drawing(s.drawForm))
	mux.HandleFunc("POST /draw/cancel", s.drawing(s.cancelForm))
	for _, r := range s.api() {
		mux.HandleFunc(r.method+" "+r.path, r.answer)
	}
	for _, name := range []string{"style.css", "script.js", "draw.js"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, assets, name) })
	}
	foreign := http.NewCrossOriginProtection()
	foreign.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, r, http.StatusForbidden, "this request comes from a page of another server")
	}))
	return s.counted(headers(s.bounded(foreign.Handler(s.guarded(mux)))))
}
