package experiment

import "context"

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

// Rehearser is implemented by problems whose rewards are programs of the user's own: a mistake in one of them should end a run before networks are trained.
type Rehearser interface {
	Problem
	// Rehearse asks the programs once. The problem is loaded, but not prepared.
	Rehearse(ctx context.Context) error
}
