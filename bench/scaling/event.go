package main

// server does one thing after another, in the order in which they come.
type server struct{ free, busy float64 }

func (s *server) serve(now, seconds float64) (done float64) {
	s.free, s.busy = max(s.free, now)+seconds, s.busy+seconds
	return s.free
}

// event is something that happens at a time; of the same time, in the order in which it was planned.
type event struct {
	at     float64
	number int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
