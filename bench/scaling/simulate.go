package main

import "container/heap"

// work is a fine-tuning run as the machines see it. Times are in seconds, sizes in bytes.
type work struct {
	Name       string  `json:"name"`
	Paths      int     `json:"paths"` // of an iteration
	Path       float64 `json:"path_seconds"`
	Train      float64 `json:"train_seconds"` // weighing and gradient steps of an iteration
	Weights    float64 `json:"weights_bytes"`
	Record     float64 `json:"record_bytes"` // of a path
	Task       float64 `json:"task_bytes"`   // of a message but for its records
	Staleness  int     `json:"-"`            // 0 is synchronous
	Iterations int     `json:"-"`
}

// network is what lies between the machines. The broker has one link each way, through which all goes; workers and trainer have one of their own.
type network struct {
	Latency float64 `json:"latency_seconds"`         // one way
	Broker  float64 `json:"broker_bytes_per_second"` // each way
	Link    float64 `json:"link_bytes_per_second"`   // of a worker, and of the trainer, each way
	Message float64 `json:"broker_message_seconds"`  // of the broker's time, for every message in or out
	Spread  float64 `json:"spread"`                  // the slowest worker takes 1+Spread times as long as the mean one, and the fastest 1−Spread
	Tasks   int     `json:"tasks_per_worker"`        // that an iteration is divided into, if it has so many paths
}

// usage says what came of a run: paths per second once it is under way, and the shares of the time for which each part was busy.
type usage struct {
	Rate    float64 `json:"paths_per_second"`
	Workers float64 `json:"workers_busy"` // on average
	Trainer float64 `json:"trainer_busy"`
	Broker  float64 `json:"broker_busy"`       // the busier way
	Link    float64 `json:"trainer_link_busy"` // the busier way
}

// limit names the part that is never idle; nothing, if all wait for each other.
func (u usage) limit() string {
	const always = 0.9
	for _, part := range []struct {
		name string
		busy float64
	}{{"trainer", u.Trainer}, {"broker", u.Broker}, {"trainer's link", u.Link}, {"workers", u.Workers}} {
		if part.busy >= always {
			return part.name
		}
	}
	return "waiting"
}

// task is an interval of the paths of an iteration, to be simulated with a version of h.
type task struct{ iteration, version, paths int }

// simulation is a discrete-event simulation of one trainer, one broker and workers that pull. A record goes worker → broker → trainer, the weights of h
// trainer → broker, and from there to every worker that has a task of theirs. As in package finetune, the tasks of iteration k+Staleness set off when version k is there.
type simulation struct {
	work
	network
	now                       float64
	planned                   int
	future                    events
	in, out                   server // of the broker
	trainer, uplink, downlink server
	queue                     []task
	idle                      []int     // workers that ask for a task
	version                   []int     // of h, by worker
	pace                      []float64 // by worker
	computing                 float64   // seconds of all workers
	tasks                     int       // of an iteration
	arrived                   []int     // tasks, by iteration
	trained                   []float64 // when each iteration ended
	training                  bool
}

func simulate(w work, n network, workers int) usage {
	s := &simulation{work: w, network: n, arrived: make([]int, w.Iterations), version: make([]int, workers), pace: make([]float64, workers)}
	for i := range workers {
		s.idle, s.version[i], s.pace[i] = append(s.idle, i), -1, 1
		if workers > 1 {
			s.pace[i] += n.Spread * (2*float64(i)/float64(workers-1) - 1)
		}
	}
	s.published(0)
	for len(s.future) > 0 {
		e := heap.Pop(&s.future).(event)
		s.now = e.at
		e.do()
	}
	from := min(w.Staleness+2, w.Iterations/2) // until then the pipeline fills
	end := s.trained[w.Iterations-1]
	return usage{Rate: float64(w.Paths*(w.Iterations-1-from)) / (end - s.trained[from]), Workers: s.computing / float64(workers) / end, Trainer: s.trainer.busy / end,
		Broker: max(s.in.busy, s.out.busy) / end, Link: max(s.uplink.busy, s.downlink.busy) / end}
}

func (s *simulation) plan(at float64, do func()) {
	s.planned++
	heap.Push(&s.future, event{at, s.planned, do})
}

// published is what follows when the broker has a version of h.
func (s *simulation) published(version int) {
	from, to := version+s.Staleness, version+s.Staleness+1
	if version == 0 {
		from = 0
	}
	for k := from; k < min(to, s.Iterations); k++ {
		n := max(1, s.Paths/(s.Tasks*len(s.version)))
		s.tasks = 0
		for left := s.Paths; left > 0; left -= n {
			s.queue, s.tasks = append(s.queue, task{k, version, min(n, left)}), s.tasks+1
		}
	}
	s.dispatch()
}

// dispatch sends tasks to workers that have asked.
func (s *simulation) dispatch() {
	for len(s.queue) > 0 && len(s.idle) > 0 {
		t, worker := s.queue[0], s.idle[0]
		s.queue, s.idle = s.queue[1:], s.idle[1:]
		s.plan(s.toWorker(s.Task), func() { s.received(t, worker) })
	}
}

// toWorker returns when a message from the broker is at a worker.
func (s *simulation) toWorker(bytes float64) float64 {
	return s.out.serve(s.now, bytes/s.Broker+s.Message) + bytes/s.Link + s.Latency
}

// received has a worker compute a task, after it has fetched the weights that it lacks.
func (s *simulation) received(t task, worker int) {
	if s.version[worker] == t.version {
		s.compute(t, worker)
		return
	}
	s.version[worker] = t.version
	s.plan(s.now+s.Latency, func() {
		s.plan(s.toWorker(s.Weights), func() { s.compute(t, worker) })
	})
}

func (s *simulation) compute(t task, worker int) {
	seconds := float64(t.paths) * s.Path * s.pace[worker]
	s.computing += seconds
	bytes := s.Task + float64(t.paths)*s.Record
	s.plan(s.now+seconds+bytes/s.Link+s.Latency, func() {
		s.plan(s.in.serve(s.now, bytes/s.Broker+s.Message), func() {
			s.idle = append(s.idle, worker) // the next request comes with the record
			s.dispatch()
			s.plan(s.out.serve(s.now, bytes/s.Broker+s.Message), func() {
				s.plan(s.downlink.serve(s.now, bytes/s.Link)+s.Latency, func() {
					s.arrived[t.iteration]++
					s.train()
				})
			})
		})
	})
}

// train does the next iteration if its batch is there, and publishes what it has learned.
func (s *simulation) train() {
	k := len(s.trained)
	if s.training || k == s.Iterations || s.arrived[k] < s.tasks {
		return
	}
	s.training = true
	s.plan(s.trainer.serve(s.now, s.Train), func() {
		s.training, s.trained = false, append(s.trained, s.now)
		s.plan(s.uplink.serve(s.now, s.Weights/s.Link)+s.Latency, func() {
			s.plan(s.in.serve(s.now, s.Weights/s.Broker+s.Message), func() { s.published(k + 1) })
		})
		s.train()
	})
}
