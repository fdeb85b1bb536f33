package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// drawView is the page with the forms of a source, if one is named, and all jobs.
type drawView struct {
	Source    *source
	Forms     []form
	Drawables []drawable
	Jobs      []job
	Lost      int
	Error     string
}

// Title is that of the page.
func (v drawView) Title() string {
	if v.Source == nil {
		return "Draw samples"
	}
	return "Draw from " + v.Source.Name
}

// form is an offer with what stands in its fields.
type form struct {
	Kind string
	offer
	Request
	Most limits
}

// limits are those that a form tells the browser.
type limits struct{ N, Steps, Text, Strength, Guidance, Side, Pixels int }

func (s *Server) drawPage(w http.ResponseWriter, r *http.Request) {
	s.showForms(w, r, http.StatusOK, "")
}

// showForms renders the page. With again=ID the fields have what that job was asked with.
func (s *Server) showForms(w http.ResponseWriter, r *http.Request, code int, problem string) {
	v := drawView{Jobs: s.studio.list(), Error: problem}
	for _, j := range v.Jobs {
		if j.State == lost {
			v.Lost++
		}
	}
	name := r.FormValue("from")
	if name == "" {
		v.Drawables = s.drawables()
	} else {
		of, found, err := s.collection.source(name)
		switch {
		case !found:
			code, v.Error = http.StatusNotFound, fmt.Sprintf("%v: %q", errSource, name)
		case err != nil:
			code, v.Error = codeOf(err), s.studio.inner(err.Error())
		}
		v.Source = &of
		of.Name = name
	}
	if v.Source != nil {
		again, _ := s.studio.job(r.FormValue("again"))
		for _, o := range v.Source.Offers {
			f := form{o.Kind, o, o.Defaults, limits{mostPictures, mostSteps, mostText, mostStrength, mostGuidance, mostSide, mostPixels}}
			if o.Kind == sampleKind {
				f.Most.N = mostSamples
			}
			if again.Request.From == name && again.Request.Kind() == o.Kind {
				f.Request = again.Request
			}
			v.Forms = append(v.Forms, f)
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if code != http.StatusOK {
		w.WriteHeader(code)
	}
	s.render(w, "draw", v)
}

// drawForm puts what a form says into the queue.
func (s *Server) drawForm(w http.ResponseWriter, r *http.Request) {
	var picture []byte
	ok := s.received(w, r, func() error {
		err := r.ParseMultipartForm(mostUpload)
		if err == http.ErrNotMultipart {
			return nil // and parsed
		}
		if err != nil {
			return err
		}
		f, _, err := r.FormFile("picture")
		if err == http.ErrMissingFile {
			return nil
		}
		if err == nil {
			defer f.Close()
			picture, err = io.ReadAll(f)
		}
		return err
	})
	if !ok {
		return
	}
	text, err := fromForm(r.PostForm, picture)
	var j job
	if err == nil {
		j, err = s.enqueue(text)
	}
	if err != nil {
		s.showForms(w, r, codeOf(err), s.studio.inner(err.Error()))
		return
	}
	to := url.Values{"from": {j.Request.From}, "again": {j.ID}}
	http.Redirect(w, r, "/draw?"+to.Encode()+"#jobs", http.StatusSeeOther)
}

// fromForm returns a form as a request in JSON. Fields that are empty are left out.
func fromForm(values url.Values, picture []byte) ([]byte, error) {
	out, kind := map[string]any{}, map[string]any{}
	for name, all := range values {
		v := all[0]
		if v == "" {
			continue
		}
		switch name {
		case "from":
			out[name] = v
		case "kind":
			out[v] = kind
		case "n", "seed", "steps", "height", "width", "strength", "guidance", "eta":
			if _, err := strconv.ParseFloat(v, 64); err != nil {
				return nil, fmt.Errorf("%w: %s is %q, want a number", errRequest, name, v)
			}
			if name == "n" || name == "seed" || name == "steps" {
				out[name] = json.Number(v)
			} else {
				kind[name] = json.Number(v)
			}
		case "measure":
			kind[name] = true
		default:
			kind[name] = v
		}
	}
	if picture != nil {
		kind["picture"] = picture
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRequest, err)
	}
	return text, nil
}

// cancelForm cancels or dismisses a job.
func (s *Server) cancelForm(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "want a form of at most 4 kB", http.StatusBadRequest)
		return
	}
	if !s.studio.cancel(r.PostForm.Get("id")) {
		http.Error(w, noJob, http.StatusNotFound)
		return
	}
	to := "/draw"
	if from := r.PostForm.Get("from"); from != "" {
		to += "?" + url.Values{"from": {from}}.Encode()
	}
	http.Redirect(w, r, to+"#jobs", http.StatusSeeOther)
}
