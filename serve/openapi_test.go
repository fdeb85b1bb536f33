package serve

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// described is openapi.json.
func described(t *testing.T) map[string]any {
	t.Helper()
	text, err := assets.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// in follows keys of objects; nil if there is one missing.
func in(v any, keys ...string) any {
	for _, k := range keys {
		object, _ := v.(map[string]any)
		v = object[k]
	}
	return v
}

// understood are the keywords of JSON Schema that are checked, and those that say nothing of values.
var understood = []string{"$ref", "type", "enum", "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "maxProperties", "properties", "required", "additionalProperties", "items", "oneOf",
	"description", "format", "contentEncoding"}

// violations says where a value is not as a schema of JSON Schema 2020-12 wants it.
func violations(doc map[string]any, schema any, v any, at string) (all []string) {
	s, _ := schema.(map[string]any)
	wrong := func(format string, args ...any) { all = append(all, at+" "+fmt.Sprintf(format, args...)) }
	for key := range s {
		if !slices.Contains(understood, key) {
			wrong("has the keyword %q, which this check does not know", key)
		}
	}
	if ref, ok := s["$ref"].(string); ok {
		target := in(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		if target == nil {
			wrong("refers to %s, which is not there", ref)
		}
		return append(all, violations(doc, target, v, at)...)
	}
	if choices, ok := s["enum"].([]any); ok && !slices.Contains(choices, v) {
		wrong("is %v, want one of %v", v, choices)
	}
	kind := s["type"]
	switch x := v.(type) {
	case map[string]any:
		if kind != nil && kind != "object" {
			wrong("is an object, want %v", kind)
		}
		properties, _ := s["properties"].(map[string]any)
		for _, name := range list(s["required"]) {
			if _, ok := x[name]; !ok {
				wrong("lacks %s", name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(x)) {
			if sub, ok := properties[name]; ok {
				all = append(all, violations(doc, sub, x[name], at+"."+name)...)
			} else if s["additionalProperties"] == false {
				wrong("has %s, which is not described", name)
			}
		}
		if most, ok := s["maxProperties"].(float64); ok && len(x) > int(most) {
			wrong("has %d properties, want at most %g", len(x), most)
		}
	case []any:
		if kind != nil && kind != "array" {
			wrong("is an array, want %v", kind)
		}
		for i, item := range x {
			all = append(all, violations(doc, s["items"], item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string:
		if kind != nil && kind != "string" {
			wrong("is a string, want %v", kind)
		}
		length := float64(utf8.RuneCountInString(x))
		if most, ok := s["maxLength"].(float64); ok && length > most {
			wrong("has %g characters, want at most %g", length, most)
		}
		if least, ok := s["minLength"].(float64); ok && length < least {
			wrong("has %g characters, want at least %g", length, least)
		}
	case float64:
		if kind != nil && kind != "number" && (kind != "integer" || x != math.Trunc(x)) {
			wrong("is %g, want %v", x, kind)
		}
		least, hasLeast := s["minimum"].(float64)
		most, hasMost := s["maximum"].(float64)
		above, hasAbove := s["exclusiveMinimum"].(float64)
		if hasLeast && x < least || hasMost && x > most || hasAbove && x <= above {
			wrong("is %g, which is out of range", x)
		}
	case bool:
		if kind != nil && kind != "boolean" {
			wrong("is a boolean, want %v", kind)
		}
	default:
		wrong("is %v", v)
	}
	if of, ok := s["oneOf"].([]any); ok {
		n := 0
		for _, one := range of {
			if len(violations(doc, one, v, at)) == 0 {
				n++
			}
		}
		if n != 1 {
			wrong("is as %d of the schemas of oneOf", n)
		}
	}
	return all
}

func list(v any) (names []string) {
	all, _ := v.([]any)
	for _, x := range all {
		names = append(names, x.(string))
	}
	return names
}

// The check itself finds what is wrong.
func TestViolations(t *testing.T) {
	doc := described(t)
	whole := `{"from": "a", "n": 1, "seed": 1, "steps": 1, "sample": {"method": "base", "task": "", "strength": 1, "format": "png"}}`
	for text, want := range map[string]string{
		whole: "",
		strings.Replace(whole, `"n": 1`, `"n": 0.5`, 1):                  "integer",
		strings.Replace(whole, `"n": 1`, `"n": 0`, 1):                    "range",
		strings.Replace(whole, `"n": 1`, `"n": "1"`, 1):                  "is a string",
		strings.Replace(whole, `"strength": 1`, `"strength": 0`, 1):      "range",
		strings.Replace(whole, `"png"`, `"gif"`, 1):                      "one of",
		strings.Replace(whole, `, "format": "png"`, ``, 1):               "lacks format",
		strings.Replace(whole, `"n": 1`, `"m": 1`, 1):                    "has m",
		strings.Replace(whole, `"sample"`, `"restore": {}, "sample"`, 1): "oneOf",
		`[]`:   "array",
		`null`: "nil",
	} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(violations(doc, map[string]any{"$ref": "#/components/schemas/Request"}, v, ""), "\n")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// The file has all routes of the API and no other.
func TestRoutesAreDescribed(t *testing.T) {
	var have, want []string
	for path, methods := range in(described(t), "paths").(map[string]any) {
		for method := range methods.(map[string]any) {
			have = append(have, strings.ToUpper(method)+" "+path)
		}
	}
	s := started(t, "", world(t))
	for _, r := range s.api() {
		want = append(want, r.method+" "+r.path)
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("described are %q\nhandled  are %q", have, want)
	}
}

// What is sent and answered is as described, with every code that there is; what the schema of a request refuses at a bound is refused, and what it allows is not.
func TestBodiesAreDescribed(t *testing.T) {
	doc, s, runs := described(t), drawer(t), runsOf(t)
	seen := map[string]bool{}
	call := func(method, path, target, text string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
		t.Helper()
		w := ask(s, method, target, append([]func(*http.Request){func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Body = body(text)
		}}, edits...)...)
		described := in(doc, "paths", path, strings.ToLower(method), "responses", fmt.Sprint(w.Code))
		if described == nil {
			t.Fatalf("%s %s: code %d is not described: %s", method, target, w.Code, w.Body)
		}
		seen[fmt.Sprint(method, " ", path, " ", w.Code)] = true
		schema := in(described, "content", "application/json", "schema")
		if schema == nil {
			return w
		}
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%s %s: %v, %s: %s", method, target, err, w.Header().Get("Content-Type"), w.Body)
		}
		if wrong := violations(doc, schema, v, ""); len(wrong) > 0 {
			t.Errorf("%s %s: the answer, code %d,\n%s", method, target, w.Code, strings.Join(wrong, "\n"))
		}
		return w
	}
	const jobs = "/api/jobs"
	call("GET", "/api/openapi.json", "/api/openapi.json", "")
	call("GET", "/api/sources", "/api/sources", "")
	for _, name := range []string{runs + "/a", runs + "/sharp", "models/sd", "nothing"} {
		call("GET", "/api/source", "/api/source?name="+name, "")
	}
	w := call("POST", jobs, jobs, `{"from": "`+runs+`/a", "n": 2, "sample": {"format": "csv"}}`)
	var j job
	if err := json.Unmarshal(w.Body.Bytes(), &j); err != nil {
		t.Fatal(err)
	}
	until(t, s, j.ID, finished)
	call("GET", "/api/jobs/{id}", jobs+"/"+j.ID, "")
	call("GET", "/api/jobs/{id}", jobs+"/x", "")
	call("GET", "/api/jobs/{id}/files/{name}", jobs+"/"+j.ID+"/files/samples.csv", "")
	call("GET", "/api/jobs/{id}/files/{name}", jobs+"/"+j.ID+"/files/other.csv", "")
	call("GET", jobs, jobs, "")
	call("DELETE", "/api/jobs/{id}", jobs+"/"+j.ID, "", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") })
	call("DELETE", "/api/jobs/{id}", jobs+"/"+j.ID, "")
	call("DELETE", "/api/jobs/{id}", jobs+"/"+j.ID, "")
	call("POST", jobs, jobs, "{}", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
	call("POST", jobs, jobs, "{}", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") })
	call("POST", jobs, jobs, `"`+strings.Repeat("x", mostUpload))
	call("GET", jobs, jobs, "", func(r *http.Request) { r.Host = "evil.example" })
	for range mostUploads {
		s.studio.uploads <- struct{}{}
	}
	call("POST", jobs, jobs, "{}")
	for range mostUploads {
		<-s.studio.uploads
	}
	for _, need := range []string{"POST /api/jobs 202", "POST /api/jobs 403", "POST /api/jobs 404", "POST /api/jobs 413", "POST /api/jobs 415", "POST /api/jobs 429", "GET /api/jobs 421",
		"GET /api/source 404", "DELETE /api/jobs/{id} 204", "DELETE /api/jobs/{id} 403", "DELETE /api/jobs/{id} 404", "GET /api/jobs/{id}/files/{name} 200"} {
		if need == "POST /api/jobs 404" {
			call("POST", jobs, jobs, `{"from": "nothing"}`)
		}
		if !seen[need] {
			t.Errorf("%s did not come: %v", need, slices.Sorted(maps.Keys(seen)))
		}
	}

	// Bounds: the requests are checked and not drawn.
	base := map[string]any{"sample": `{"from": "` + runs + `/a", "sample": {}}`, "generate": `{"from": "models/sd", "generate": {"prompt": "x"}}`}
	for kind, text := range base {
		parts := map[string]any{"": in(doc, "components", "schemas", "Asked", "properties"), kind: in(doc, "components", "schemas", "Asked", "properties", kind, "properties")}
		for place, properties := range parts {
			for name, schema := range properties.(map[string]any) {
				for bound, beyond := range map[string]float64{"minimum": -1, "maximum": 1, "exclusiveMinimum": 0} {
					at, ok := in(schema, bound).(float64)
					if !ok {
						continue
					}
					for _, v := range []float64{at, at + beyond} {
						var request map[string]any
						if err := json.Unmarshal([]byte(text.(string)), &request); err != nil {
							t.Fatal(err)
						}
						object := request
						if place != "" {
							object = request[place].(map[string]any)
						}
						if object[name] = v; name == "height" || name == "width" { // which go together
							object["height"], object["width"] = v, v
						}
						body, err := json.Marshal(request)
						if err != nil {
							t.Fatal(err)
						}
						_, err = s.studio.parse(body)
						allowed := len(violations(doc, map[string]any{"$ref": "#/components/schemas/Asked"}, decoded(t, body), "")) == 0
						if kind == "generate" && name == "n" && v > mostPictures { // which the description says in words
							allowed = false
						}
						if (err == nil) != allowed {
							t.Errorf("%s: the schema allows it %t, the handler says %v", body, allowed, err)
						}
					}
				}
			}
		}
	}
}

func decoded(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}
