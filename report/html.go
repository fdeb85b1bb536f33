package report

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"os"
	"strings"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// Document is a page of sections.
type Document struct {
	Title, Subtitle string
	Sections        []Section
}

// Section is a heading and, in this order and where given, text, a table, images and preformatted text.
type Section struct {
	Heading, Text string // blank lines part the text into paragraphs
	Table         *Table
	Images        []Image
	Pre           string
}

// Image is a PNG file with a caption.
type Image struct{ Path, Caption string }

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Parse(pageSource))

// HTML writes the document as one file that needs nothing else: images are inlined, there are no scripts and nothing is
// loaded from a network. It follows the reader's light or dark setting.
func HTML(path string, doc Document) error {
	view := pageView{Title: doc.Title, Subtitle: doc.Subtitle}
	for _, s := range doc.Sections {
		v := sectionView{Heading: s.Heading, Paragraphs: paragraphs(s.Text), Pre: s.Pre, Table: s.Table}
		if s.Table != nil {
			if err := s.Table.check(); err != nil {
				return fmt.Errorf("report: cannot write %s: section %q: %w", path, s.Heading, err)
			}
		}
		for _, i := range s.Images {
			inlined, err := i.inline()
			if err != nil {
				return fmt.Errorf("report: cannot write %s: section %q: %w", path, s.Heading, err)
			}
			v.Images = append(v.Images, inlined)
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
	Title, Subtitle string
	Sections        []sectionView
}

type sectionView struct {
	Heading    string
	Paragraphs []string
	Table      *Table
	Images     []imageView
	Pre        string
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

func paragraphs(text string) (p []string) {
	for _, s := range strings.Split(text, "\n\n") {
		if s = strings.TrimSpace(s); s != "" {
			p = append(p, s)
		}
	}
	return p
}
