// Package experiment is the frame of all experiments: a problem is data, a method is a value, an experiment is their product.
//
//	Problem × Methods × tasks × seeds → stages → Results → Report
//
// A [Problem] says what is sampled: prior, reward, tasks, metrics. Package method says how. Everything else is here, once: configuration,
// training and storing networks, running and resuming and extending, planning, sampling, evaluating, comparing,
// reporting. It prints nothing; it tells what happens by [Event]s.
//
// A run folder is the only record of a run:
//
//	config.yaml             what every number in the folder was made under
//	events.jsonl            one line per event
//	report.json             results, a contract for programs; it exists when the run is complete
//	report.csv              its numbers, a line each: task, method, metric, value, standard error
//	report.html             the same for people, with all figures, in one file
//	figures/ samples/       PNG
//	tensorboard/            event files for TensorBoard, of every stage and of the run
//	checkpoint/*.safetensors   parameters
//	LOCK                    held while a process works in the folder
package experiment
