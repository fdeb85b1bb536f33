// Package method holds the ways to sample a tilted law, one file each: fine-tuning by Algorithm 1 and its relatives, guidance, selection,
// sequential Monte Carlo. A [Method] is a value; its exported fields are its settings. It sees a [Target], the base law, the reward and
// how to simulate them, and knows no problem, no run folder and no other method: whatever samples one target samples all whose needs
// are met. What it costs is predicted beside what it does.
//
//	New("importance") → settings → Fit(target) → h → Sample(target, h) → Samples
//
// A method takes a line in a table by being registered in its own file. Those whose name is that of a learned method and an ending, such
// as importance_smc, take the h of that method, whichever it is.
package method
