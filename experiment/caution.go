package experiment

// Cautious is implemented by problems that know, before any work, where numbers will mean less than they seem to.
type Cautious interface {
	Problem
	// Cautions says so, a sentence each.
	Cautions() []string
}

// Cautions returns those of a problem.
func Cautions(p Problem) []string {
	if c, ok := p.(Cautious); ok {
		return c.Cautions()
	}
	return nil
}
