package method

// Base samples the base model.
type Base struct {
	noFit      `yaml:"-"`
	noSettings `yaml:"-"`
	draws      `yaml:"-"`
}

var _ = register(func() Method { return &Base{} })

// About implements [Method].
func (*Base) About() About { return About{Name: "base", Title: "Base model"} }

// Cost implements [Method].
func (*Base) Cost(w Work) Cost {
	return Cost{Base: w.Samples, Shared: min(w.Samples, w.Pool), Rows: w.Samples}
}
