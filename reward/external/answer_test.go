package external

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// An answer is to samples 4 and 9 of 12, and request 3.
func answered(text string) (got []float64, err error) {
	got = make([]float64, 2)
	return got, parse([]byte(text), 3, func(k int, v float64) { got[k] = v }, []int{4, 9}, 12)
}

func TestAnswer(t *testing.T) {
	inf := math.Inf(-1)
	for text, want := range map[string][]float64{
		`{"rewards":[0.5,-2]}` + "\r\n":                                {0.5, -2},
		`{"rewards": [1e3, -Infinity], "id": 3}`:                       {1000, inf}, // as Python writes it
		`{"rewards":["-Infinity",-0.0],"gradients":"\"NaN\\","x":NaN}`: {inf, 0},
		`{"note":"Infinity \" -Infinity","rewards":[0,1]}`:             {0, 1},
	} {
		if got, err := answered(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
}

// A missing value is never 0, and every error names what is wrong.
func TestAnswerRefused(t *testing.T) {
	for text, c := range map[string]struct {
		is    error
		words []string
	}{
		`{"rewards":[0.5,NaN]}`:                {reward.ErrInvalid, []string{"NaN", "sample 9 of 12"}},
		`{"rewards":[Infinity,1]}`:             {reward.ErrInvalid, []string{"Infinity", "sample 4 of 12"}},
		`{"rewards":["nan",1]}`:                {reward.ErrInvalid, []string{"nan", "sample 4 of 12"}},
		`{"rewards":[1,null]}`:                 {reward.ErrInvalid, []string{"missing", "sample 9 of 12"}},
		`{"rewards":[1,1e999]}`:                {reward.ErrInvalid, []string{"1e999", "sample 9 of 12"}},
		`{"rewards":[[1],[2]]}`:                {reward.ErrInvalid, []string{"[1]", "want a number", "sample 4 of 12"}},
		`{"rewards":["1",2]}`:                  {reward.ErrInvalid, []string{"want a number", "sample 4 of 12"}},
		`{"rewards":[true,2]}`:                 {reward.ErrInvalid, []string{"true", "want a number"}},
		`{"rewards":[1]}`:                      {reward.ErrInvalid, []string{"1 rewards for 2 samples"}},
		`{"rewards":[1,2,3]}`:                  {reward.ErrInvalid, []string{"3 rewards for 2 samples"}},
		`{"rewards":[]}`:                       {reward.ErrInvalid, []string{"0 rewards for 2 samples"}},
		`{"rewards":null}`:                     {ErrAnswer, []string{"want a list"}},
		`{"rewards":1}`:                        {ErrAnswer, []string{"want a list"}},
		`{"reward":[1,2]}`:                     {ErrAnswer, []string{`["reward"]`, `want "rewards"`}},
		`{"rewards":[1,2],"id":2}`:             {ErrAnswer, []string{"to request", "2", "want 3"}},
		`{"rewards":[1,2],"id":"3"}`:           {ErrAnswer, []string{"to request"}},
		`{"error":"no face","rewards":[0, 0]}`: {ErrScorer, []string{"no face"}},
		`[1,2]`:                                {ErrAnswer, []string{"[1,2]", "want one line of JSON"}},
		`{"rewards":[1,2]} {"rewards":[1,2]}`:  {ErrAnswer, []string{"want one line of JSON"}},
		`{"rewards":[1,2`:                      {ErrAnswer, []string{"want one line of JSON"}},
		`<html>Bad gateway</html>`:             {ErrAnswer, []string{"Bad gateway"}},
		``:                                     {ErrAnswer, []string{`""`}},
	} {
		got, err := answered(text)
		if !errors.Is(err, c.is) {
			t.Errorf("%s: %v, error %v, want one that is %q", text, got, err, c.is)
		}
		oracle.WantError(t, err, c.words...)
	}
}
