package fleet

import (
	"context"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// underWay is how many messages may be on their way at once.
const underWay = 256

// publish has messages on the server's disk. Many are under way at once, so that workers have the first while the last is written.
func (c connection) publish(ctx context.Context, messages []*nats.Msg) error {
	for some := range slices.Chunk(messages, underWay) {
		if err := c.send(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// send sends messages at once. Those that are not acknowledged are sent again, one by one; the server drops copies by their id.
func (c connection) send(ctx context.Context, messages []*nats.Msg) error {
	attempt, end := context.WithTimeout(ctx, forMessage)
	defer end()
	var sent []jetstream.PubAckFuture
	for _, m := range messages {
		future, err := c.js.PublishMsgAsync(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
		if err != nil { // it will be for those below too
			break
		}
		sent = append(sent, future)
	}
	for i, m := range messages {
		if i < len(sent) && acknowledged(attempt, sent[i]) {
			continue
		}
		if err := persist(ctx, "place task "+m.Header.Get(jetstream.MsgIDHeader), forMessage, func(ctx context.Context) error {
			_, err := c.js.PublishMsg(ctx, m)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func acknowledged(ctx context.Context, f jetstream.PubAckFuture) bool {
	select {
	case <-f.Ok():
		return true
	case <-f.Err():
	case <-ctx.Done():
	}
	return false
}
