package main

import (
	"context"
	"database/sql"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
)

// recoverOptions are the flags of recover.
type recoverOptions struct {
	since, until string
	missing      bool
	types        []string
	reason       string
	dryRun       bool
	yes          bool
	detach       bool
}

func newRecoverCommand(a *app) *cobra.Command {
	var o recoverOptions
	cmd := &cobra.Command{
		Use:   "recover ENDPOINT",
		Short: "Send an endpoint, at a pace, what failed for good or what it was never sent",
		Long: `Counts the deliveries that failed for good since a time, and has the running relays send them again: 50 a second,
live deliveries first. It shows how far that has come; an interrupt (Ctrl-C) cancels it, --detach leaves it running.

With --missing it sends the events that happened since then, that the endpoint selects now, and that it was never sent,
because it was made, enabled, or selected the type afterwards.`,
		Example: `  surveyhooks recover 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --since 2h --dry-run
  surveyhooks recover 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --missing --since 2024-03-06T12:00:00Z --yes`,
		Args: exactly("endpoint"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := o.request(a, args[0])
			if err != nil {
				return err
			}
			return a.recovering(cmd, func(ctx context.Context, s *recovery.Service) error { return a.startRecovery(ctx, s, request, o) })
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.since, "since", "", "what failed, or happened, from then on: a `time` such as 2024-03-06T12:00:00Z, or how long ago, such as 2h")
	flags.StringVar(&o.until, "until", "", "and before then; a `time` or how long ago (default: now)")
	flags.BoolVar(&o.missing, "missing", false, "send what it selects and was never sent")
	flags.StringSliceVar(&o.types, "type", nil, "with --missing: of these event `types` alone (default: all that it selects)")
	flags.StringVar(&o.reason, "reason", "", "why, in your own `words`, for the audit trail")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only count")
	flags.BoolVar(&o.yes, "yes", false, "do it; without it nothing is sent")
	flags.BoolVar(&o.detach, "detach", false, "do not wait for the end")
	_ = cmd.MarkFlagRequired("since") // the flag is there
	cmd.AddCommand(recoverList(a), recoverCancel(a))
	return cmd
}

func (o recoverOptions) request(a *app, id string) (r recovery.Request, err error) {
	r.Actor, r.Reason, r.Types, r.Kind = a.actor(), o.reason, o.types, recovery.Failures
	if o.missing {
		r.Kind = recovery.Missing
	}
	if r.EndpointID, err = uuidArgument("endpoint", id); err != nil {
		return r, err
	}
	if r.Since, err = moment("since", o.since); err != nil || o.until == "" {
		return r, err
	}
	r.Until, err = moment("until", o.until)
	return r, err
}

// moment is a time, or how long ago it was.
func moment(flag, text string) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago > 0 {
		return time.Now().Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, usage("--%s is %q: want a time such as 2024-03-06T12:00:00Z, or how long ago, such as 2h", flag, text)
	}
	return t, nil
}

// recovering runs a verb on the recoveries.
func (a *app) recovering(cmd *cobra.Command, do func(context.Context, *recovery.Service) error) error {
	return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error { return do(ctx, recovery.New(recovery.Config{DB: db})) })
}

func (a *app) startRecovery(ctx context.Context, s *recovery.Service, request recovery.Request, o recoverOptions) error {
	found, err := s.Count(ctx, request)
	if err != nil {
		return err
	}
	if o.dryRun {
		return a.print(foundView{request.EndpointID, request.Kind, found}, foundTable(request.Kind, found))
	}
	if !o.yes {
		return usage("this would send %s: give --yes, or --dry-run to count alone", what(request.Kind, found.Deliveries))
	}
	r, err := s.Start(ctx, request)
	if err != nil {
		return err
	}
	a.say("recovery %s sends %s; a running relay works on it", r.ID, what(r.Kind, r.Total))
	if !o.detach {
		if r, err = a.follow(ctx, s, r); err != nil {
			return err
		}
	}
	return a.print(r, recoveryTable([]recovery.Recovery{r}))
}

// foundView is what a dry run prints.
type foundView struct {
	EndpointID uuid.UUID     `json:"endpoint_id"`
	Kind       recovery.Kind `json:"kind"`
	recovery.Found
}

func foundTable(kind recovery.Kind, found recovery.Found) *table {
	if kind == recovery.Failures {
		return &table{rows: [][]string{{number(found.Deliveries), "failed for good"}}}
	}
	t := &table{}
	for _, c := range found.Types {
		t.add(number(c.Deliveries), c.EventType)
	}
	t.add(number(found.Deliveries), "missing")
	if found.Earliest != nil {
		t.add(at(*found.Earliest), "the first of them")
	}
	if found.Expired > 0 {
		t.add(number(found.Expired), "missing and no longer kept: they cannot be sent")
	}
	return t
}

func what(kind recovery.Kind, n int) string {
	if kind == recovery.Missing {
		return number(n) + " events that it was never sent"
	}
	return number(n) + " deliveries again"
}

// follow tells how far a recovery has come until it ends, and cancels it when ctx ends first.
func (a *app) follow(ctx context.Context, s *recovery.Service, r recovery.Recovery) (recovery.Recovery, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for r.State == recovery.Running {
		select {
		case <-ctx.Done():
			background, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
			defer cancel()
			return s.Cancel(background, uuid.Nil, r.ID, a.actor())
		case <-tick.C:
		}
		now, err := s.Get(ctx, uuid.Nil, r.ID)
		if err != nil {
			if ctx.Err() != nil {
				continue
			}
			return r, err
		}
		if now.Replayed+now.Skipped != r.Replayed+r.Skipped || now.WaitsFor != r.WaitsFor {
			a.say("%s", progress(now))
		}
		r = now
	}
	return r, nil
}

func progress(r recovery.Recovery) string {
	text := number(r.Replayed+r.Skipped) + " of " + number(r.Total)
	if r.Skipped > 0 {
		text += ", " + number(r.Skipped) + " of them skipped"
	}
	switch r.WaitsFor {
	case "":
		return text
	case "enabled":
		return text + ": waits until the endpoint is enabled"
	case "breaker":
		return text + ": waits until the endpoint answers again"
	default:
		return text + ": waits until live deliveries are sent"
	}
}

func recoveryTable(list []recovery.Recovery) *table {
	t := &table{head: []string{"RECOVERY", "ENDPOINT", "KIND", "STATE", "SINCE", "UNTIL", "TOTAL", "REPLAYED", "SKIPPED", "WAITS FOR", "ACTOR"}}
	for _, r := range list {
		t.add(r.ID.String(), r.EndpointID.String(), string(r.Kind), string(r.State), at(r.Since), at(r.Until), number(r.Total), number(r.Replayed),
			number(r.Skipped), orDash(r.WaitsFor), r.Actor)
	}
	return t
}

func recoverList(a *app) *cobra.Command {
	var company, endpointID uuid.UUID
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List recoveries, the latest first",
		Example: `  surveyhooks recover list
  surveyhooks recover list --endpoint 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkLimit(limit); err != nil {
				return err
			}
			return a.recovering(cmd, func(ctx context.Context, s *recovery.Service) error {
				list, err := s.List(ctx, company, endpointID, limit)
				if err != nil {
					return err
				}
				return a.print(list, recoveryTable(list))
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&company}, "company", "only this company's")
	flags.Var(uuidFlag{&endpointID}, "endpoint", "only of this endpoint")
	flags.IntVar(&limit, "limit", 50, "at most so many, up to 500")
	return cmd
}

func recoverCancel(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel RECOVERY",
		Short: "End a recovery where it stands; what it has queued is sent",
		Example: `  surveyhooks recover cancel 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks recover cancel 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly("recovery"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuidArgument("recovery", args[0])
			if err != nil {
				return err
			}
			return a.recovering(cmd, func(ctx context.Context, s *recovery.Service) error {
				r, err := s.Cancel(ctx, uuid.Nil, id, a.actor())
				if err != nil {
					return err
				}
				return a.print(r, recoveryTable([]recovery.Recovery{r}))
			})
		},
	}
}
