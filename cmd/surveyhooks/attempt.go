package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/projections"
)

// attemptDetail is the JSON of attempts get: the attempt, and what it sent.
type attemptDetail struct {
	Attempt projections.Attempt `json:"attempt"`
	Request sentView            `json:"request"`
}

// sentView adds the body, which is JSON of ours and so text.
type sentView struct {
	projections.SentRequest

	Body *string `json:"body"` // null when the event is no longer kept
	Curl string  `json:"curl"`
}

func attemptsGet(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "get DELIVERY ATTEMPT",
		Short: "Show one HTTP request as it was sent, and what came back",
		Long: `Shows one attempt: its request with headers and body, the answer with headers and the first 16 KiB of its body, and
where the time went. Attempts count from 1 over the whole life of a delivery: see surveyhooks deliveries get. The values
of custom headers, and of a URL's query, are kept nowhere and shown as ***.`,
		Example: `  surveyhooks attempts get 42 1
  surveyhooks attempts get 42 1 -o json`,
		Args: exactly("delivery", "attempt"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := deliveryArgument(args[0])
			if err != nil {
				return err
			}
			n, err := strconv.ParseInt(args[1], 10, 16) // a smallint
			if err != nil || n < 1 {
				return usage("attempt: %q is no number of an attempt: want 1, or another one from surveyhooks deliveries get %d", args[1], id)
			}
			return a.reading(cmd, func(ctx context.Context, reader *projections.Reader) error {
				attempt, err := findAttempt(ctx, reader, id, int(n))
				if err != nil {
					return orNotFound(err, "attempt", args[1]+" of delivery "+args[0])
				}
				sent, err := reader.Request(ctx, uuid.Nil, id, int(n))
				if err != nil {
					return orNotFound(err, "attempt", args[1]+" of delivery "+args[0])
				}
				view := sentView{SentRequest: sent, Curl: sent.Curl()}
				if sent.Body != nil {
					body := string(sent.Body)
					view.Body = &body
				}
				return a.print(attemptDetail{attempt, view}, attemptParts(attempt, sent))
			})
		},
	}
}

// findAttempt looks through a delivery's attempts, the newest first: nearly always they are one page.
func findAttempt(ctx context.Context, reader *projections.Reader, delivery int64, n int) (projections.Attempt, error) {
	filter := projections.Filter{DeliveryID: delivery, Limit: 500}
	for {
		page, err := reader.Attempts(ctx, filter)
		if err != nil {
			return projections.Attempt{}, err
		}
		for _, attempt := range page.Items {
			if attempt.Attempt == n {
				return attempt, nil
			}
		}
		if filter.Cursor = page.Next; filter.Cursor == "" {
			return projections.Attempt{}, projections.ErrNotFound
		}
	}
}

// attemptParts are the attempt in words, its request, and its answer.
func attemptParts(attempt projections.Attempt, sent projections.SentRequest) *table {
	t := attemptTable([]projections.Attempt{attempt})
	facts := &table{}
	facts.add("detail", orDash(attempt.Detail))
	facts.add("connected to", orDash(attempt.RemoteAddr))
	for _, part := range []struct {
		name string
		us   int64
	}{{"DNS", attempt.DNSUs}, {"TCP", attempt.ConnectUs}, {"TLS", attempt.TLSUs}, {"first byte", attempt.FirstByteUs}, {"total", attempt.TotalUs}} {
		facts.add(part.name, (time.Duration(part.us) * time.Microsecond).String())
	}
	facts.add("next attempt", atOrNone(attempt.NextAttemptAt))

	request := &table{rows: [][]string{{sent.Method + " " + sent.URL}}}
	for _, h := range sent.Headers {
		request.add(h.Name + ": " + h.Value)
	}
	body := string(sent.Body)
	switch {
	case sent.Gone:
		body = "(the event is no longer kept)"
	case !sent.Exact:
		body += " (what would be sent now: nobody knows what left)"
	}
	request.add("") // as in HTTP
	request.add(body)
	t.next, facts.next, request.next = facts, request, answerTable(attempt)
	return t
}

func answerTable(attempt projections.Attempt) *table {
	if attempt.Status == nil {
		return &table{rows: [][]string{{"no answer"}}}
	}
	t := &table{rows: [][]string{{"HTTP " + strconv.Itoa(*attempt.Status)}}}
	var headers map[string][]string
	if err := json.Unmarshal(attempt.ResponseHeaders, &headers); err == nil {
		for _, name := range slices.Sorted(maps.Keys(headers)) {
			for _, value := range headers[name] {
				t.add(name + ": " + value)
			}
		}
	}
	body, _ := attempt.ResponseBody.Text()
	if attempt.ResponseTruncated {
		body += " (cut off)"
	}
	t.add("")
	t.add(body)
	return t
}
