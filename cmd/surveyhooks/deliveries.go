package main

import (
	"context"
	"database/sql"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

func newDeliveriesCommand(a *app) *cobra.Command {
	return group("deliveries", "Look at deliveries, and send them again",
		`  surveyhooks deliveries list --state exhausted
  surveyhooks deliveries retry 42`,
		deliveriesList(a), deliveriesGet(a), deliveriesTail(a), deliveriesRetry(a))
}

func deliveriesList(a *app) *cobra.Command {
	var h historyFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List deliveries, the latest first",
		Example: `  surveyhooks deliveries list --state exhausted --since 24h
  surveyhooks deliveries list --endpoint 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := h.read(a)
			if err != nil {
				return err
			}
			if err := checkState(filter.State); err != nil {
				return err
			}
			return a.reading(cmd, func(ctx context.Context, reader *projections.Reader) error {
				page, err := reader.Deliveries(ctx, filter)
				if err != nil {
					return err
				}
				return printPage(a, page, deliveryTable(page.Items))
			})
		},
	}
	h.deliveryFlags(cmd.Flags(), "pending|retrying|held|delivered|exhausted|cancelled")
	return cmd
}

func checkState(state string) error {
	switch fact.State(state) {
	case "", fact.Pending, fact.Retrying, fact.Held, fact.Delivered, fact.Exhausted, fact.Cancelled:
		return nil
	default:
		return usage("--state is %q: want pending, retrying, held, delivered, exhausted or cancelled", state)
	}
}

func deliveryTable(list []projections.Delivery) *table {
	t := &table{head: []string{"DELIVERY", "STATE", "ATTEMPTS", "TYPE", "EVENT", "ENDPOINT", "LAST", "TOOK", "NEXT ATTEMPT"}}
	for _, d := range list {
		t.add(number(d.DeliveryID), standing(d), number(d.Attempts), d.EventType, d.EventID.String(), d.EndpointID.String(),
			outcome(d.LastStatus, d.LastReason), orDash(took(d.LastTotalUs)), upcoming(d))
	}
	return t
}

// standing is a delivery's state, or that a request is under way.
func standing(d projections.Delivery) string {
	if d.DeliveringSince != nil {
		return "delivering"
	}
	return d.State
}

// upcoming says when an open delivery is tried next, and what it waits for.
func upcoming(d projections.Delivery) string {
	switch state := fact.State(d.State); {
	case d.DeliveringSince != nil:
		return "since " + at(*d.DeliveringSince)
	case state != fact.Pending && state != fact.Retrying && state != fact.Held:
		return "-"
	case d.WaitsFor == projections.WaitsForEnabled:
		return "once the endpoint is enabled"
	case d.WaitsFor == projections.WaitsForBreaker:
		return at(*d.NextAttemptAt) + " (breaker)"
	case d.WaitsFor == projections.WaitsForProbe:
		return "now (probe)"
	case d.NextAttemptAt == nil || !d.NextAttemptAt.After(time.Now()):
		return "now"
	default:
		return at(*d.NextAttemptAt)
	}
}

// took is how long an attempt lasted; empty when nobody knows.
func took(us *int64) string {
	if us == nil {
		return ""
	}
	return (time.Duration(*us) * time.Microsecond).Round(100 * time.Microsecond).String()
}

// outcome is an HTTP status with its reason, as far as there are any.
func outcome(status *int, reason *string) string {
	text := ""
	if status != nil {
		text = strconv.Itoa(*status)
	}
	if reason != nil {
		if text != "" {
			text += " "
		}
		text += *reason
	}
	return orDash(text)
}

// deliveryDetail is the JSON of deliveries get: the delivery with its attempts, the newest first.
type deliveryDetail struct {
	projections.Delivery

	AttemptCount int                   `json:"attempt_count"` // of this generation, that used up a retry
	Attempts     []projections.Attempt `json:"attempts"`      // in the place of the list's count
}

func deliveriesGet(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "get DELIVERY",
		Short: "Show one delivery with its attempts, the newest first",
		Example: `  surveyhooks deliveries get 42
  surveyhooks deliveries get 42 -o json`,
		Args: exactly("delivery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := deliveryArgument(args[0])
			if err != nil {
				return err
			}
			return a.reading(cmd, func(ctx context.Context, reader *projections.Reader) error {
				d, err := reader.Delivery(ctx, uuid.Nil, id)
				if err != nil {
					return orNotFound(err, "delivery", id)
				}
				t := deliveryTable([]projections.Delivery{d.Delivery})
				t.head = append(t.head, "REQUESTED BY", "RETRIED BY", "RETRIED")
				t.rows[0] = append(t.rows[0], orDash(d.RequestedBy), orDash(d.RetriedBy), atOrNone(d.RetriedAt))
				t.next = attemptTable(d.AttemptRows)
				return a.print(deliveryDetail{Delivery: d.Delivery, AttemptCount: d.Attempts, Attempts: orEmpty(d.AttemptRows)}, t)
			})
		},
	}
}

func deliveriesRetry(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "retry DELIVERY",
		Short: "Send it now: pull its next attempt forward, or begin again when it is over",
		Example: `  surveyhooks deliveries retry 42
  surveyhooks deliveries retry 42 -o json`,
		Args: exactly("delivery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := deliveryArgument(args[0])
			if err != nil {
				return err
			}
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error { return a.retry(ctx, db, id) })
		},
	}
}

func (a *app) retry(ctx context.Context, db *sql.DB, id int64) error {
	d, err := projections.NewReader(db).Delivery(ctx, uuid.Nil, id)
	if err != nil {
		return orNotFound(err, "delivery", id)
	}
	known := delivery.Known{
		DeliveryID: d.DeliveryID, EndpointID: d.EndpointID, EventID: d.EventID, CompanyID: d.CompanyID,
		Generation: d.Generation, State: fact.State(d.State), FirstAttemptAt: zeroOr(d.FirstAttemptAt),
	}
	for _, attempt := range d.AttemptRows {
		known.Attempts = max(known.Attempts, attempt.Attempt)
	}
	queue := delivery.Queue{DB: db}
	heldUntil, err := queue.Retry(ctx, delivery.Retry{Scope: endpoint.AnyCompany(), Actor: a.actor(), Delivery: known})
	if err != nil {
		return err
	}
	if !heldUntil.IsZero() {
		a.say("the breaker of its endpoint is open until %s: it is tried then; a test goes at once: surveyhooks endpoints test %s", at(heldUntil), d.EndpointID)
		return a.print(map[string]any{"delivery_id": id, "due": false, "held_until": heldUntil}, &table{rows: [][]string{{number(id), "held until " + at(heldUntil)}}})
	}
	a.say("due now; a running relay sends it: surveyhooks deliveries get %d", id)
	return a.print(map[string]any{"delivery_id": id, "due": true}, &table{rows: [][]string{{number(id), "due now"}}})
}

func zeroOr(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
