package relay

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// fanOutGroup is the consumer group of the outbox.
const fanOutGroup = "fan-out"

// offeredEvents is the most events of a page whose deliveries are handed to the lanes without being read again. In a
// trickle that is two round trips before the first byte; a backlog is better read page by page, at each lane's pace.
const offeredEvents = 8

// fanner turns pages of the outbox into deliveries. One relay does it at a time; the others stand by.
type fanner struct {
	types    string // a PostgreSQL array
	pageRows int
	source   *lane.Source
	recorder *recorder

	mu    sync.Mutex
	last  commitlog.Page // committed by this fanner
	page  commitlog.Page // applied, and not yet committed
	born  born           // of that page
	since int64          // the lanes' mark after the last commit of which they were not offered everything
}

// born is what the lanes are told of a page when it is committed.
type born struct {
	pages      int // that were applied since the last commit: one, if nothing went wrong
	mark       int64
	deliveries []*lane.Delivery // of a small page
	endpoints  []uuid.UUID      // of a larger one
	claimed    *lane.Claim      // of the deliveries, those that start with the page's commit
	rest       []*lane.Delivery // and those that do not
}

func newFanner(source *lane.Source, recorder *recorder, pageRows int) *fanner {
	names := make([]string, 0, len(outbox.Types()))
	for _, t := range outbox.Types() {
		names = append(names, string(t))
	}
	return &fanner{types: "{" + strings.Join(names, ",") + "}", pageRows: pageRows, source: source, recorder: recorder}
}

// apply fans the page out by one statement in the reader's transaction: exactly once, milliseconds, no network.
func (f *fanner) apply(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.page, f.born = page, born{pages: f.born.pages + 1, mark: f.source.Mark()}
	rows, err := tx.QueryContext(ctx, fanOut, append(page.Args(), f.types, offeredEvents)...)
	if err != nil {
		return fmt.Errorf("fan out page: %w", err)
	}
	defer rows.Close()
	var relays int
	for rows.Next() {
		if err := f.born.scan(rows, &relays); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("fan out page: %w", err)
	}
	if relays > 1 {
		if _, err := tx.ExecContext(ctx, notifyLanes, workPrefix+f.born.names()); err != nil {
			return fmt.Errorf("notify other relays: %w", err)
		}
	}
	return f.claim(ctx, tx)
}

// claim has the first attempts of a small page start with its commit, where the lanes have nothing else to do: another commit
// for their intents would take as long as this one.
func (f *fanner) claim(ctx context.Context, tx *sql.Tx) error {
	b := &f.born
	b.rest = b.deliveries
	if !f.offers() || f.recorder.timeline == "" || !f.recorder.keepsUp() {
		return nil
	}
	b.claimed, b.rest = f.source.Claim(f.since, b.mark, b.deliveries)
	if deliveries := b.claimed.Deliveries(); len(deliveries) > 0 {
		return f.recorder.startWith(ctx, tx, deliveries)
	}
	return nil
}

// offers reports whether the page may be offered to the lanes. What they are offered must come right after what they know of:
// a page of another relay between, or one of ours whose commit was lost on the way, is found by a read of their own.
func (f *fanner) offers() bool {
	return f.born.pages == 1 && len(f.born.endpoints) == 0 && f.page.Follows(f.last, f.pageRows)
}

// scan reads a row of the fan-out.
func (b *born) scan(rows *sql.Rows, relays *int) error {
	var endpoint uuid.UUID
	var id, version sql.NullInt64
	var trigger, eventType sql.NullString
	var event, company uuid.NullUUID
	var createdAt sql.NullTime
	var data []byte
	if err := rows.Scan(&endpoint, relays, &id, &version, &trigger, &event, &eventType, &company, &createdAt, &data); err != nil {
		return fmt.Errorf("scan fan-out: %w", err)
	}
	if !id.Valid {
		b.endpoints = append(b.endpoints, endpoint)
		return nil
	}
	d := &lane.Delivery{
		ID: id.Int64, EndpointID: endpoint, Generation: 1, Trigger: fact.Trigger(trigger.String), ConfigVersion: int(version.Int64),
	}
	if data == nil { // the same event as the row before
		d.Event = b.deliveries[len(b.deliveries)-1].Event
	} else {
		d.Event = &lane.Event{
			ID: event.UUID, Type: eventType.String, CompanyID: company.UUID, CreatedAt: createdAt.Time, Data: data,
		}
	}
	b.deliveries = append(b.deliveries, d)
	return nil
}

// lanes are the endpoints that have something new, each once, however many events of the page are for it.
func (b *born) lanes() []uuid.UUID {
	lanes := slices.Clone(b.endpoints)
	for _, d := range b.deliveries {
		lanes = append(lanes, d.EndpointID)
	}
	slices.SortFunc(lanes, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(lanes)
}

// names lists the lanes for the other relays. NOTIFY carries at most 8000 bytes; an empty list means all lanes.
func (b *born) names() string {
	lanes := b.lanes()
	if len(lanes) > 200 {
		return ""
	}
	names := make([]string, len(lanes))
	for i, id := range lanes {
		names[i] = id.String()
	}
	return strings.Join(names, " ")
}

// failed gives up what was to start with the page, which is not known to be committed.
func (f *fanner) failed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.born.claimed != nil {
		f.born.claimed.Failed()
		f.born.claimed = nil
	}
}

// committed tells this relay's own lanes.
func (f *fanner) committed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, offered := f.born, f.offers()
	f.last, f.born = f.page, born{}
	if b.claimed != nil {
		b.claimed.Started()
	}
	if offered {
		f.source.Offer(f.since, b.mark, b.rest)
		return
	}
	f.since = f.source.Mark()
	if b.pages > 1 { // a page that failed came again, or in pieces
		f.source.Wake()
		return
	}
	if lanes := b.lanes(); len(lanes) > 0 {
		f.source.Wake(lanes...)
	}
}
