package commitlog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/lib/pq"
)

// Doorbell lets a reader sleep until somebody commits, without a commit ever paying for a NOTIFY while the reader is
// awake.
//
// Asleep means holding an advisory lock exclusively; the insert trigger tries the same lock shared and rings only when
// that fails. A reader can fall asleep only when no transaction that saw it awake is still open, so no ring is missed;
// a ring that the network loses costs at most the poll interval.
//
// One sleeper is enough for everybody to be rung: all listen on one channel. A reader that finds another one asleep (a
// second group of the same log, a relay that stands by) sleeps beside it.
type Doorbell struct {
	topic    Topic
	db       *sql.DB
	listener *pq.Listener
	logger   *slog.Logger

	closed chan struct{}
	conn   *sql.Conn // holds the lock while asleep
	asleep bool
	beside bool // another reader holds the lock, so producers ring for this one too
	misses int
}

// NewDoorbell connects a doorbell of topic to the database of dsn, for as long as ctx lets it try. Its methods are for one
// goroutine, but for Close.
func NewDoorbell(ctx context.Context, db *sql.DB, dsn string, topic Topic, logger *slog.Logger) (*Doorbell, error) {
	b := &Doorbell{topic: topic, db: db, logger: logger, closed: make(chan struct{})}
	listener, err := Listen(ctx, dsn, "webhooks_"+string(topic), func(_ pq.ListenerEventType, err error) {
		if err != nil && ctx.Err() == nil {
			logger.Warn("doorbell lost its connection", "topic", string(topic), "error", err)
		}
	})
	if err != nil {
		return nil, err
	}
	b.listener = listener
	return b, nil
}

// Listen waits until a listener on channel is connected, or ctx ends: the driver's own wait has no end while the database
// is away.
func Listen(ctx context.Context, dsn, channel string, told pq.EventCallbackType) (*pq.Listener, error) {
	listener := pq.NewDialListener(Dialer(), dsn, 100*time.Millisecond, 5*time.Second, told)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	err := listener.Listen(channel)
	if !stop() {
		err = errors.Join(context.Cause(ctx), err)
	}
	if err != nil {
		_ = listener.Close() // it may be closed already
		return nil, fmt.Errorf("listen on %s: %w", channel, err)
	}
	return listener, nil
}

// Sleep returns when there may be something to read: at once after falling asleep (what was committed before must be
// looked for once more), on a ring, or after longest.
func (b *Doorbell) Sleep(longest time.Duration) {
	if b.asleep || b.beside {
		b.beside = false // the other one may have woken since
		b.wait(longest, b.listener.Notify)
		return
	}
	if b.fallAsleep() {
		b.misses = 0
		return
	}
	// Somebody who saw the reader awake has not committed yet.
	b.misses++
	b.wait(min(longest, time.Millisecond<<min(b.misses, 5)), nil)
}

// Rest is for a reader that slept, was woken, and has read all there was: it waits on without having let go of the lock,
// so that a single event costs neither the lock again nor a look at an empty log. It is false when there is something to
// do first: the reader was not asleep, or no ring came for longest, and the lock may be lost. It is safe on a nil doorbell.
func (b *Doorbell) Rest(longest time.Duration) bool {
	return b != nil && b.asleep && b.wait(longest, b.listener.Notify)
}

// Standby waits for longest: another reader holds the log, and rings are for it.
func (b *Doorbell) Standby(longest time.Duration) {
	b.Awake()
	b.beside = false
	b.wait(longest, nil)
}

// Awake stops the ringing. It is safe on a nil doorbell.
func (b *Doorbell) Awake() {
	if b == nil {
		return
	}
	// Rings for others arrive here too. Left unread they would stop the listener, and with it the server's queue.
	b.drain()
	if !b.asleep {
		return
	}
	b.asleep = false
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := b.conn.ExecContext(ctx, b.topic.sql(unlockDoorbell)); err != nil {
		b.drop() // the lock goes with its connection
	}
}

// Close ends every wait and the doorbell's connections. The reader must have stopped before Close returns to it.
func (b *Doorbell) Close() {
	b.drop()
	_ = b.listener.Close()
	// The listener's goroutines end only when somebody takes their last rings; while reconnecting that is some seconds.
	go func() {
		for range b.listener.Notify {
		}
	}()
}

// Interrupt ends the current wait and every later one, so that the reader can stop.
func (b *Doorbell) Interrupt() { close(b.closed) }

// wait reports whether there was a ring. All that came before it are covered by the look that follows.
func (b *Doorbell) wait(longest time.Duration, ring <-chan *pq.Notification) bool {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case n := <-ring:
		b.drain()
		if n == nil { // the listener was connected anew: what cut it off may have taken the lock, too
			b.drop()
		}
		return n != nil
	case <-b.closed:
	case <-timer.C:
	}
	return false
}

func (b *Doorbell) fallAsleep() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if b.conn == nil {
		conn, err := b.db.Conn(ctx)
		if err != nil {
			return false
		}
		b.conn = conn
	}
	b.drain() // before the lock: a ring after it is never forgotten
	if err := b.conn.QueryRowContext(ctx, b.topic.sql(tryDoorbell)).Scan(&b.asleep, &b.beside); err != nil {
		b.logger.Warn("doorbell cannot take its lock", "topic", string(b.topic), "error", err)
		b.drop()
		return false
	}
	return b.asleep || b.beside
}

// drain forgets the rings of earlier sleeps.
func (b *Doorbell) drain() {
	for {
		select {
		case _, open := <-b.listener.Notify:
			if !open {
				return
			}
		default:
			return
		}
	}
}

func (b *Doorbell) drop() {
	b.asleep, b.beside = false, false
	if b.conn != nil {
		// A pooled connection keeps its session locks: this one must really end, and only ErrBadConn ends it.
		_ = b.conn.Raw(func(any) error { return driver.ErrBadConn })
		_ = b.conn.Close()
		b.conn = nil
	}
}
