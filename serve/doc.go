// Package serve shows runs in a browser, while they work and when they are done, whichever process works on them: it reads what run folders say, and
// writes nothing there.
//
//	/                 all runs
//	/?run=A&run=B     one run, or some side by side
//	/events?run=A     their courses, as server-sent events
//	/file?run=A&name= a file that a run gives away
//	/metrics /healthz for Prometheus, and for whoever watches the server
//
// After [Server.Infer] it also draws samples from runs that are complete, and from folders of Stable Diffusion with adapters, one request after the other:
//
//	/draw?from=A      forms, and what was asked for
//	/api/…            the same for programs: openapi.json says how
//
// A request is completed and checked (request.go, submit.go) by what its source offers (source.go), waits in a queue whose journal outlives the server
// (job.go, journal.go), and is drawn (work.go) with the models that fit into memory (models.go).
//
// Whatever is asked for, only files in the given folders can be read, only those that [experiment.Looked.Files] lists and the pictures that were drawn are
// given away, and no run is changed. GET begins nothing. Beyond this machine every page but /healthz takes a token.
package serve
