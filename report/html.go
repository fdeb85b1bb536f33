package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"os"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// Document is a page of sections.
type Document struct {
	Title, Subtitle string
	Sections        []Section
}

// Section is a heading and, in this order and where given, a table, images and preformatted text.
type Section struct {
	Heading string
	Table   *Table
	Images  []Image
	Pre     string
}

// Image is a PNG file with a caption.
type Image struct{ Path, Caption string }

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Parse(pageSource))

// HTML writes the document as one file that needs nothing else: images are inlined, there are no scripts and nothing is
// loaded from a network. It follows the reader's light or dark setting.
func HTML(path string, doc Document) error {
	view := pageView{Document: doc}
	for _, s := range doc.Sections {
		v, err := s.view()
		if err != nil {
			return fmt.Errorf("report: cannot write %s: section %q: %w", path, s.Heading, err)
		}
		view.Sections = append(view.Sections, v)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, view); err != nil {
		return fmt.Errorf("report: cannot write %s: %w", path, err)
	}
	return atomicfile.Write(path, b.Bytes())
}

type pageView struct {
	Document
	Sections []sectionView
}

type sectionView struct {
	Section
	Images []imageView
}

func (s Section) view() (sectionView, error) {
	v := sectionView{Section: s}
	if s.Table != nil {
		if err := s.Table.check(); err != nil {
			return v, err
		}
	}
	for _, i := range s.Images {
		inlined, err := i.inline()
		if err != nil {
			return v, err
		}
		v.Images = append(v.Images, inlined)
	}
	return v, nil
}

type imageView struct {
	Source  template.URL
	Caption string
	Width   int // CSS pixels
}

func (i Image) inline() (imageView, error) {
	data, err := os.ReadFile(i.Path)
	if err != nil {
		return imageView{}, fmt.Errorf("image: %w", err)
	}
	width, err := cssWidth(data)
	if err != nil {
		return imageView{}, fmt.Errorf("image %s is no PNG: %w", i.Path, err)
	}
	source := "data:image/png;base64," + base64.StdEncoding.EncodeToString(data)
	return imageView{template.URL(source), i.Caption, width}, nil
}
