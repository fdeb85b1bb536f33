// Package experiment holds a recipe for each experiment of the paper: which problem, which methods on equal terms, which
// figures and tables. A recipe reads a configuration (a preset, a file, and key=value settings, in this order), works in
// a run folder, and tells an [Observer] what happens; it prints nothing.
//
// A run folder is the only record of a run:
//
//	config.yaml             the resolved configuration
//	events.jsonl            one line per event
//	report.json             results, a contract for programs; it exists when the run is complete
//	report.html             the same for people, with all figures, in one file
//	figures/ samples/       PNG
//	checkpoint/*.safetensors   parameters, of the first seed
//	LOCK                    held while a process works in the folder
package experiment
