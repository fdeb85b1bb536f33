package reward

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gomlx/gomlx/core/graph"
)

// Operator is a linear measurement A of images, the known part of an inverse problem y = Ax + σξ. No entry of A is
// negative. An entry of Ax to which no pixel contributes is not observed: Ax is 0 there, whatever x is, a measurement has
// no noise there, and [Inverse] does not look at it.
type Operator interface {
	// Measure returns Ax for x [batch, height, width, channels].
	Measure(x *graph.Node) *graph.Node
	// Adjoint returns Aᵀy, of the shape of the images: ⟨Ax, y⟩ = ⟨x, Aᵀy⟩.
	Adjoint(y *graph.Node) *graph.Node
	// Shape returns the shape of the measurement of one image [height, width, channels], or an error if it has none.
	Shape(image []int) ([]int, error)
}

// ErrUnknownOperator says that no operator has the given name.
var ErrUnknownOperator = errors.New("unknown operator")

// NewOperator returns an operator by its name, which [Operator.Shape] accepts for images of the given shape:
//
//	average-F   means of blocks of F×F pixels: super-resolution
//	inpaint     a hole in the middle, of half the side
//	blur-S      a Gaussian blur of standard deviation S pixels; blur is blur-1.5
func NewOperator(name string, image []int) (Operator, error) {
	kind, parameter, given := strings.Cut(name, "-")
	var a Operator
	switch {
	case kind == "average" && given:
		if factor, err := strconv.Atoi(parameter); err == nil {
			a = Average{Factor: factor}
		}
	case name == "inpaint":
		a = Inpaint{}
	case name == "blur":
		a = Blur{SD: 1.5}
	case kind == "blur":
		if sd, err := strconv.ParseFloat(parameter, 64); err == nil {
			a = Blur{SD: sd}
		}
	}
	if a == nil {
		return nil, fmt.Errorf("reward: %w %q: there are average-2, average-4 (any factor), inpaint, blur, blur-1.5 (any standard deviation in pixels)",
			ErrUnknownOperator, name)
	}
	if _, err := a.Shape(image); err != nil {
		return nil, err
	}
	return a, nil
}

// Backproject returns Aᵀy / AᵀA1, and 0 where that is 0/0: every pixel is the mean of the entries of y that it
// contributes to, by their weights, and a pixel that nobody saw is gray. For block averages and masks it is an image that
// measures y. It is how networks are shown a measurement: in the shape of an image, at its scale.
func Backproject(a Operator, y *graph.Node) *graph.Node {
	back := a.Adjoint(y)
	one := back.Shape().Clone()
	one.Dimensions[0] = 1
	weight := a.Adjoint(a.Measure(graph.Ones(back.Graph(), one)))
	unseen := graph.ConvertDType(graph.IsZero(weight), weight.DType())
	return graph.Div(back, graph.Add(weight, unseen)) // without negative entries Aᵀy is 0 there too
}

func checkImage(operator string, image []int) error {
	if len(image) != 3 || image[0] < 1 || image[1] < 1 || image[2] < 1 {
		return fmt.Errorf("reward: %s measures images [height, width, channels], got shape %v", operator, image)
	}
	return nil
}
