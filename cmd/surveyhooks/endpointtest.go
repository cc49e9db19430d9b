package main

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

const (
	// testWait is long enough for a receiver that takes all of its 30 s.
	testWait = 35 * time.Second
	// excerpt is how much of an answer a table shows.
	excerpt = 200
)

// testView is what endpoints test prints: with --wait also what came of it.
type testView struct {
	EventID    uuid.UUID            `json:"event_id"`
	EndpointID uuid.UUID            `json:"endpoint_id"`
	DeliveryID *int64               `json:"delivery_id"` // null: not waited for
	Attempt    *projections.Attempt `json:"attempt"`
}

func (v *endpointVerbs) test() *cobra.Command {
	cmd := v.change("test", "Send it a test.webhook event, even while it is disabled, and show what came back", nil)
	cmd.Example = example("test", "test --wait 0 -o json")
	cmd.Long = `Sends a test.webhook event to the endpoint alone, once: a test is not retried. With --wait it shows the outcome, and exits
with 1 if that is a failure.`
	var wait time.Duration
	cmd.Flags().DurationVar(&wait, "wait", testWait, "wait so long for the outcome; 0 does not, which is the default where standard output is no terminal")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ref, err := v.ref(args[0])
		if err != nil {
			return err
		}
		if wait < 0 {
			return usage("--wait is %s: want a length of time such as 35s, or 0", wait)
		}
		if !cmd.Flags().Changed("wait") && !isTerminal(v.stdout) {
			wait = 0
		}
		shown := testView{EndpointID: ref.ID}
		err = v.do(cmd, func(ctx context.Context, store *endpoint.Store) error {
			shown.EventID, err = store.Test(ctx, ref)
			return err
		})
		if err != nil {
			return err
		}
		if wait == 0 {
			v.say("published; a running relay sends it now: surveyhooks deliveries list --event %s", shown.EventID)
			return v.print(shown, &table{rows: [][]string{{shown.EventID.String()}}})
		}
		v.say("published; waiting for the outcome of event %s", shown.EventID)
		return v.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
			return v.awaitTest(ctx, projections.NewReader(db), shown, wait)
		})
	}
	return cmd
}

// awaitTest prints the outcome of a test as soon as the history has it.
func (a *app) awaitTest(ctx context.Context, history *projections.Reader, shown testView, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		page, err := history.Attempts(ctx, projections.Filter{EventID: shown.EventID, EndpointID: shown.EndpointID, Limit: 1})
		if err == nil && len(page.Items) > 0 {
			shown.Attempt = &page.Items[0]
			shown.DeliveryID = &shown.Attempt.DeliveryID
			return a.printTest(shown)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return unavailable("no outcome within %s: is a relay running? Look later: surveyhooks deliveries list --event %s", wait, shown.EventID)
		case <-tick.C:
		}
	}
}

func (a *app) printTest(shown testView) error {
	at := shown.Attempt
	t := attemptTable([]projections.Attempt{*at})
	t.add()
	words := withDetail(testWords(fact.Reason(at.Reason)), at.Detail)
	t.add(words)
	if body, coded := at.ResponseBody.Text(); body != "" && !coded {
		t.add("it answered: " + body[:min(len(body), excerpt)])
	}
	if err := a.print(shown, t); err != nil {
		return err
	}
	if at.Outcome != "succeeded" {
		return &exitError{code: exitFailure, err: fmt.Errorf("the test failed: %s", words), told: a.output == "table"}
	}
	return nil
}

// withDetail adds what is known besides; many a detail begins with the same words.
func withDetail(words, detail string) string {
	switch {
	case detail == "":
		return words
	case strings.HasPrefix(detail, words):
		return detail
	default:
		return words + ": " + detail
	}
}

// testWords are a reason's, where a test has not the consequence that they name.
func testWords(r fact.Reason) string {
	switch r {
	case fact.StatusGone:
		return "answered 410 Gone: to anything but a test, that would disable the endpoint"
	case fact.StatusThrottled:
		return "answered 429 Too Many Requests: wait, then test again"
	default:
		return r.Words()
	}
}
