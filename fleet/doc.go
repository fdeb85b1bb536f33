// Package fleet spreads simulations over machines that come, go, stop and answer twice, with NATS JetStream in between.
//
// A [Trainer] cuts the paths of a simulation into intervals, each a task of a work queue. [Work] takes them one by one, simulates, and answers
// with a [diffusion.Piece]. Path i is the same bytes wherever it is simulated, so that a task may be lost, done twice, or answered late and in
// any order: pieces are placed by their first path, and joined to what one machine would have computed. What a task needs besides, networks and
// the weights of h, are files of an object store, by their SHA-256.
//
// Nothing but data is exchanged: JSON, safetensors, and a run's configuration. Who may answer is a matter of a token; whose numbers would be
// others is refused at the handshake, see [Numbers]. The package does not know what is simulated: it passes on an order that its callers write
// and read.
//
// On the server lie, for one run at a time:
//
//	stream doob_tasks      a [Task] each, until it is acknowledged: a work queue
//	stream doob_results    pieces, until the trainer has placed them: a work queue
//	object store doob      files
//	subjects doob.join, doob.beat, doob.status: the trainer answers
package fleet
