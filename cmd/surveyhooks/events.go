package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/spelling"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

// historyFlags narrow a list of the history.
type historyFlags struct {
	filter projections.Filter
	since  string
}

// define adds the flags that every list of the history has.
func (h *historyFlags) define(flags *pflag.FlagSet) {
	flags.Var(uuidFlag{&h.filter.CompanyID}, "company", "only this company's")
	flags.Var(uuidFlag{&h.filter.EventID}, "event", "only of this event")
	flags.StringVar(&h.filter.EventType, "type", "", "only of this event `type`")
	flags.StringVar(&h.since, "since", "", "only from then on: a `time` such as 2024-03-06T12:00:00Z, or how long ago, such as 2h (default: all)")
	flags.StringVar(&h.filter.Cursor, "cursor", "", "go on with the `next` of the page before")
	flags.IntVar(&h.filter.Limit, "limit", 50, "at most so many, up to 500")
}

// deliveryFlags are those of lists below the event.
func (h *historyFlags) deliveryFlags(flags *pflag.FlagSet, states string) {
	h.define(flags)
	flags.Var(uuidFlag{&h.filter.EndpointID}, "endpoint", "only of this endpoint")
	flags.StringVar(&h.filter.State, "state", "", "only `"+states+"` ones")
	flags.IntVar(&h.filter.Status, "status", 0, "only with this HTTP status")
	flags.StringVar(&h.filter.Reason, "reason", "", "only with this `reason`, such as timeout")
}

// read is the filter, once it is checked; what can be meant and rarely is, is said on standard error.
func (h *historyFlags) read(a *app) (projections.Filter, error) {
	if h.since != "" {
		from, err := moment("since", h.since)
		if err != nil {
			return h.filter, err
		}
		h.filter.From = from
	}
	if err := h.filter.Validate(); err != nil {
		return h.filter, usage("--%w", err)
	}
	if unknown := spelling.UnknownType(outbox.Type(h.filter.EventType)); h.filter.EventType != "" && unknown != "" {
		a.say("warning: --type %s", unknown)
	}
	return h.filter, checkLimit(h.filter.Limit)
}

// reading runs a verb that asks the history.
func (a *app) reading(cmd *cobra.Command, do func(context.Context, *projections.Reader) error) error {
	return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
		return do(ctx, projections.NewReader(db))
	})
}

// printPage prints a part of a list, and on standard error how to go on.
func printPage[T any](a *app, page projections.Page[T], t *table) error {
	if page.Next != "" {
		a.say("there are more: go on with --cursor %s", page.Next)
	}
	return a.print(orEmpty(page.Items), t)
}

func newEventsCommand(a *app) *cobra.Command {
	return group("events", "Look at what happened",
		`  surveyhooks events list --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks events get 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		eventsList(a), eventsGet(a), eventsSend(a))
}

// decisionTable says what was decided about each endpoint, and which others were sent the event on request.
func decisionTable(event projections.Event, deliveries []projections.Delivery) *table {
	t := eventTable([]projections.Event{event})
	var decisions []decision
	if err := json.Unmarshal(event.Decisions, &decisions); err != nil {
		return t
	}
	decided := &table{head: []string{"ENDPOINT", "DECISION", "DELIVERY"}}
	t.next = decided
	told := map[int64]bool{}
	for _, d := range decisions {
		id := "-"
		if d.DeliveryID != nil {
			id, told[*d.DeliveryID] = number(*d.DeliveryID), true
		}
		decided.add(d.EndpointID.String(), d.Decision, id)
	}
	for _, d := range deliveries {
		if !told[d.DeliveryID] {
			decided.add(d.EndpointID.String(), "on request", number(d.DeliveryID))
		}
	}
	return t
}

func eventsSend(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "send EVENT ENDPOINT",
		Short: "Send an event to an endpoint that it was not sent to when it happened",
		Example: `  surveyhooks events send 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f21
  surveyhooks events send 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f21 -o json`,
		Args: exactly("event", "endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := uuidArgument("event", args[0])
			if err != nil {
				return err
			}
			endpointID, err := uuidArgument("endpoint", args[1])
			if err != nil {
				return err
			}
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
				d, err := projections.NewReader(db).Decision(ctx, uuid.Nil, event, endpointID)
				if err != nil {
					return orNotFound(err, "endpoint", endpointID)
				}
				if d.Verdict == projections.UnknownEvent {
					return orNotFound(projections.ErrNotFound, "event", event)
				}
				if !d.MayBeRequested() {
					return fmt.Errorf("it cannot be sent on request: %s", d.Words())
				}
				queue := delivery.Queue{DB: db}
				id, err := queue.Request(ctx, delivery.RequestPage{
					Scope: endpoint.AnyCompany(), Actor: a.actor(), EndpointID: endpointID, Events: []uuid.UUID{event},
				})
				if err != nil {
					return err
				}
				return a.print(map[string]any{"delivery_id": id}, &table{head: []string{"DELIVERY"}, rows: [][]string{{number(id)}}})
			})
		},
	}
}

func eventsList(a *app) *cobra.Command {
	var h historyFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List events, the latest first",
		Example: `  surveyhooks events list --since 2h
  surveyhooks events list --type conversation.completed -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := h.read(a)
			if err != nil {
				return err
			}
			return a.reading(cmd, func(ctx context.Context, reader *projections.Reader) error {
				page, err := reader.Events(ctx, filter)
				if err != nil {
					return err
				}
				return printPage(a, page, eventTable(page.Items))
			})
		},
	}
	h.define(cmd.Flags())
	return cmd
}

func eventTable(events []projections.Event) *table {
	t := &table{head: []string{"EVENT", "TYPE", "COMPANY", "CREATED", "ENDPOINTS TOLD"}}
	for _, e := range events {
		t.add(e.EventID.String(), e.EventType, e.CompanyID.String(), at(e.CreatedAt), chosen(e.Decisions))
	}
	return t
}

// decision is one endpoint's part of an event's decisions.
type decision struct {
	EndpointID uuid.UUID `json:"endpoint_id"`
	Version    int       `json:"version"`
	Decision   string    `json:"decision"`
	DeliveryID *int64    `json:"delivery_id"`
}

// chosen says "2 of 3".
func chosen(decisions json.RawMessage) string {
	var list []decision
	if err := json.Unmarshal(decisions, &list); err != nil {
		return "?"
	}
	told := 0
	for _, d := range list {
		if d.DeliveryID != nil {
			told++
		}
	}
	return number(told) + " of " + number(len(list))
}

func eventsGet(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "get EVENT",
		Short: "Show one event, and for each endpoint whether it was told and why not",
		Example: `  surveyhooks events get 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks events get 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly("event"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuidArgument("event", args[0])
			if err != nil {
				return err
			}
			return a.reading(cmd, func(ctx context.Context, reader *projections.Reader) error {
				event, err := reader.Event(ctx, uuid.Nil, id)
				if err != nil {
					return orNotFound(err, "event", id)
				}
				deliveries, err := reader.Deliveries(ctx, projections.Filter{EventID: id, Limit: 500})
				if err != nil {
					return err
				}
				return a.print(event, decisionTable(event, deliveries.Items))
			})
		},
	}
}
