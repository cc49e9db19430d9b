package main

import (
	"context"
	"database/sql"
	"errors"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
)

// operating runs a verb of the operator's. Whoever has the database's password is one.
func (a *app) operating(cmd *cobra.Command, do func(context.Context, *operator.Service, access.Caller) error) error {
	return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
		return do(ctx, operator.New(operator.Config{DB: db}), access.Caller{Role: access.Operator, Actor: a.actor()})
	})
}

func newPauseCommand(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Pause all sending, on every relay at once; events go on to become deliveries, which wait",
		Long: `Pauses all sending. Every relay hears of it at once; requests under way end. Events become deliveries, which wait: no
retry is used up, and no circuit breaker moves. Test events are refused meanwhile. It lasts until surveyhooks resume,
whatever is restarted.`,
		Example: `  surveyhooks pause --reason "the survey app sends wrong prices"
  surveyhooks pause --reason maintenance -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.operating(cmd, func(ctx context.Context, s *operator.Service, by access.Caller) error {
				p, err := s.Pause(ctx, by, reason)
				if err != nil {
					return err
				}
				return a.print(p, &table{rows: [][]string{{"paused by " + p.By + " since " + at(p.Since) + ": " + p.Reason}}})
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a few `words`, for whoever finds it paused")
	_ = cmd.MarkFlagRequired("reason") // the flag is there
	return cmd
}

func newResumeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "End the pause of all sending; everything that is due is sent",
		Example: `  surveyhooks resume
  surveyhooks resume -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.operating(cmd, func(ctx context.Context, s *operator.Service, by access.Caller) error {
				was, err := s.Resume(ctx, by)
				if err != nil {
					return err
				}
				words := "it was not paused"
				if was != nil {
					words = "resumed; it was paused by " + was.By + " since " + at(was.Since) + ": " + was.Reason
				}
				return a.print(map[string]any{"was": was}, &table{rows: [][]string{{words}}})
			})
		},
	}
}

func newRelaysCommand(a *app) *cobra.Command {
	return group("relays", "See the running relays, and drain one before it is stopped",
		`  surveyhooks relays list
  surveyhooks relays drain 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20`,
		relaysList(a), relaysDrain(a), relaysUndrain(a))
}

func relaysList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the running relays, with how many endpoints each serves",
		Example: `  surveyhooks relays list
  surveyhooks relays list -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.operating(cmd, func(ctx context.Context, s *operator.Service, _ access.Caller) error {
				relays, err := s.Relays(ctx)
				if err != nil {
					return err
				}
				return a.print(relays, relayTable(relays...))
			})
		},
	}
}

func relaysDrain(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "drain RELAY",
		Short: "Have a relay hand its endpoints over to the others, and take no new ones",
		Long: `Has a relay hand its endpoints over: it starts nothing, ends what is under way, and gives each endpoint free, which the
others take. It stays alive, and its /readyz answers 503, until surveyhooks relays undrain, or until it is restarted.
Without another relay nothing would be sent: --yes says that this is meant.`,
		Example: `  surveyhooks relays drain 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks relays drain 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --yes -o json`,
		Args: exactly("relay"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuidArgument("relay", args[0])
			if err != nil {
				return err
			}
			return a.operating(cmd, func(ctx context.Context, s *operator.Service, by access.Caller) error {
				r, err := s.Drain(ctx, by, id, yes)
				if alone, ok := errors.AsType[*operator.AloneError](err); ok {
					return usage("%w, or give --yes", alone)
				}
				return a.printRelay(r, err)
			})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "even if no other relay is there to take its endpoints")
	return cmd
}

func relaysUndrain(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "undrain RELAY",
		Short: "Give a drained relay its share of the endpoints again",
		Example: `  surveyhooks relays undrain 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks relays undrain 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 -o json`,
		Args: exactly("relay"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := uuidArgument("relay", args[0])
			if err != nil {
				return err
			}
			return a.operating(cmd, func(ctx context.Context, s *operator.Service, by access.Caller) error {
				r, err := s.Undrain(ctx, by, id)
				return a.printRelay(r, err)
			})
		},
	}
}

func (a *app) printRelay(r fleet.Relay, err error) error {
	if err != nil {
		return err
	}
	return a.print(r, relayTable(r))
}

func relayTable(relays ...fleet.Relay) *table {
	t := &table{head: []string{"RELAY", "HOST", "STATE", "ENDPOINTS", "STARTED", "DRAINED BY"}}
	for _, r := range relays {
		state, by := "alive", "-"
		switch {
		case !r.Alive:
			state = "silent"
		case r.DrainedAt != nil && r.Lanes > 0:
			state = "draining"
		case r.DrainedAt != nil:
			state = "drained"
		}
		if r.DrainedAt != nil {
			by = r.DrainedBy + " at " + at(*r.DrainedAt)
		}
		t.add(r.ID.String(), r.Host, state, number(r.Lanes), at(r.StartedAt), by)
	}
	return t
}
