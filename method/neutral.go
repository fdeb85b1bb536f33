package method

// Neutral is importance fine-tuning with r = 0. There is nothing to learn, so its KL is what fine-tuning costs by itself: how far (15) and
// its sampling noise take the chain from where it should stay, see [htransform.Neutral]. An amortised h learns from r = 0 too: measurements are
// drawn anew from the samples (56), so that there it would tell of something else.
type Neutral struct {
	Importance `yaml:",inline"`
}

var _ = register(func() Method { return &Neutral{} })

// About implements [Method].
func (*Neutral) About() About {
	return About{Name: "neutral", Title: "Neutral (r = 0)", Needs: Learning | Unconditional, Zero: true}
}
