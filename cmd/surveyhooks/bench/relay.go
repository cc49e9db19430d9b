package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/seal"
)

// relayOrder is the relay's first order. The second one, a go, starts it: what a process needs to come up is not measured.
type relayOrder struct {
	DSN      string `json:"dsn"` // told and not passed as an argument, where every user of the machine could read it
	SealKeys string `json:"seal_keys"`
	Profile  string `json:"profile"` // where its profiles go; empty: none
}

// ready is the answer to the first order.
type ready struct {
	Ready bool `json:"ready"`
}

// drainFor bounds how long a relay waits for requests under way: those that hang are not waited for.
const drainFor = 2 * time.Second

// ServeRelay is a relay's process: it reads its orders from in, answers on out, and runs a relay and a projector, with
// their defaults, until in or ctx ends.
func ServeRelay(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	o := orders{json.NewDecoder(in)}
	var order relayOrder
	if err := o.lines.Decode(&order); err != nil {
		return fmt.Errorf("read relay's order: %w", err)
	}
	if err := json.NewEncoder(out).Encode(ready{true}); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	var start json.RawMessage
	if err := o.lines.Decode(&start); errors.Is(err, io.EOF) {
		return nil // stopped before it was started
	} else if err != nil {
		return fmt.Errorf("read relay's start: %w", err)
	}
	ctx, cancel := o.untilEOF(ctx)
	defer cancel()

	stopProfile, err := startProfile(order.Profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	keys, err := seal.ParseRing(order.SealKeys)
	if err != nil {
		return fmt.Errorf("read relay's keys: %w", err)
	}
	relayer, err := relay.New(relay.Config{
		DSN: order.DSN, Keys: keys, Egress: egress.Config{Policy: egress.Policy{Insecure: true}}, Drain: drainFor, Logger: logger,
	})
	if err != nil {
		return fmt.Errorf("make relay: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return relayer.Run(ctx) })
	group.Go(func() error { return project(ctx, order.DSN, logger) })
	return group.Wait()
}

func project(ctx context.Context, dsn string, logger *slog.Logger) error {
	db, err := openDB(dsn, 4)
	if err != nil {
		return err
	}
	defer db.Close()
	return projections.New(projections.Config{DB: db, DSN: dsn, Logger: logger}).Run(ctx)
}
