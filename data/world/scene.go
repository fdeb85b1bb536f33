package world

import (
	"fmt"
	"strings"
)

// Kind is what a thing is.
type Kind int

// The kinds of things.
const (
	Rabbit Kind = iota
	Rose
	Dog
	Cat
	Fish
	Star
	Kinds // how many there are
)

var kindNames = [Kinds][2]string{{"rabbit", "rabbits"}, {"rose", "roses"}, {"dog", "dogs"}, {"cat", "cats"}, {"fish", "fish"}, {"star", "stars"}}

// String returns the word for one thing of the kind.
func (k Kind) String() string { return kindNames[k][0] }

// Colour is that of things. Both things of a scene have the same.
type Colour int

// The colours of things.
const (
	Red Colour = iota
	Green
	Blue
	Yellow
	Purple
	White
	Colours // how many there are
)

var colourNames = [Colours]string{"red", "green", "blue", "yellow", "purple", "white"}

// String returns the word for the colour.
func (c Colour) String() string { return colourNames[c] }

// Place is where things are.
type Place int

// The places.
const (
	Plain  Place = iota // before a grey wall
	Park                // on a lawn below the sky
	Vase                // in a pot before a grey wall
	Places              // how many there are
)

var placeWords = [Places]string{"", " in the park", " in a vase"}

// String returns how captions name the place, without the space before it.
func (p Place) String() string {
	if p == Plain {
		return "plain"
	}
	return strings.TrimSpace(placeWords[p])
}

// Scene is what a picture shows.
type Scene struct {
	Kinds  []Kind // of one or two things
	Colour Colour // of all of them
	Place  Place
	Ground bool // the wall is not grey but as green as green things are; of [Plain] only
}

// Is reports whether two scenes look the same but for where things are exactly.
func (s Scene) Is(other Scene) bool {
	if len(s.Kinds) != len(other.Kinds) || s.Colour != other.Colour || s.Place != other.Place || s.Ground != other.Ground {
		return false
	}
	return s.Counts() == other.Counts()
}

// Counts returns how many things there are of each kind.
func (s Scene) Counts() (n [Kinds]int) {
	for _, k := range s.Kinds {
		n[k]++
	}
	return n
}

// Caption says how a picture should be. The zero Caption is one red rabbit before a wall.
type Caption struct {
	Kind   Kind
	Two    bool
	Colour Colour
	Any    bool // no colour is named, and any will do
	Place  Place
}

// String returns the caption in words, such as "Two green colored dogs in the park."
func (c Caption) String() string {
	count, noun, colour := "A", kindNames[c.Kind][0], c.Colour.String()+" colored "
	if c.Two {
		count, noun = "Two", kindNames[c.Kind][1]
	}
	if c.Any {
		colour = ""
	}
	return fmt.Sprintf("%s %s%s%s.", count, colour, noun, placeWords[c.Place])
}

// ParseCaption undoes [Caption.String].
func ParseCaption(words string) (Caption, bool) {
	for k := range Kinds {
		for colour := range Colours {
			for place := range Places {
				for i := range 4 {
					c := Caption{Kind: k, Two: i&1 != 0, Colour: colour, Any: i&2 != 0, Place: place}
					if c.String() == words {
						return c, true
					}
				}
			}
		}
	}
	return Caption{}, false
}

// Shows reports whether a scene is as the caption says, in everything that it says.
func (c Caption) Shows(s Scene) bool { return c.Matches(s) == Matched{true, true, true, true} }

// Matched says what of a caption a scene gets right.
type Matched struct {
	Kind   bool // all things are of the kind
	Count  bool
	Colour bool // of things; and the wall is grey
	Place  bool
}

// Matches compares a scene with the caption.
func (c Caption) Matches(s Scene) Matched {
	n := 1
	if c.Two {
		n = 2
	}
	return Matched{
		Kind:   s.Counts()[c.Kind] == len(s.Kinds),
		Count:  len(s.Kinds) == n,
		Colour: (c.Any || s.Colour == c.Colour) && !s.Ground,
		Place:  s.Place == c.Place,
	}
}
