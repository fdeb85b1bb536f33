// Package serve shows runs in a browser, while they work and when they are done, whichever process works on them: it reads what run folders say, and
// writes nothing.
//
//	/                 all runs
//	/?run=A&run=B     one run, or some side by side
//	/events?run=A     their courses, as server-sent events
//	/file?run=A&name= a file that a run gives away
//	/metrics /healthz for Prometheus, and for whoever watches the server
//
// Whatever is asked for, only files in the given folders can be read, only those that [experiment.Looked.Files] lists are given away, and there is no
// way to change anything. Beyond this machine every page but /healthz takes a token.
package serve
