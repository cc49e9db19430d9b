package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

func newTriggerCommand(a *app) *cobra.Command {
	var company, endpoint uuid.UUID
	var changes []string
	var only bool
	var secret string
	cmd := &cobra.Command{
		Use:   "trigger TYPE --company UUID",
		Short: "Publish an invented event, with the values that a receiver is to be tried with, or print it as a fixture",
		Long: `Publishes an invented event of a type. --set changes values of it by their path; what reads as JSON is taken as JSON,
anything else is text. --endpoint tells that endpoint alone, even while it is disabled.

--print publishes nothing: it prints the request that a receiver would get, headers and body, signed now with --secret,
as a fixture for the receiver's own tests. It needs no database.`,
		Example: `  surveyhooks trigger conversation.completed --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --set data.responses.0.answer=3
  surveyhooks trigger conversation.started --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --print --secret "$SECRET" -o json > fixture.json`,
		Args: exactly("TYPE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := inventedEvent(args[0], company, changes)
			if err != nil {
				return err
			}
			if endpoint != uuid.Nil {
				event.EndpointID = &endpoint
			}
			if only {
				return a.printFixture(event, secret)
			}
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error { return a.publish(ctx, db, event) })
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&company}, "company", "the company that the event belongs to")
	flags.Var(uuidFlag{&endpoint}, "endpoint", "tell this endpoint alone (default: all that subscribe)")
	flags.StringArrayVar(&changes, "set", nil, "`path=value`: change a value, such as data.survey.name=X; may be given again")
	flags.BoolVar(&only, "print", false, "print the signed request and publish nothing")
	flags.StringVar(&secret, "secret", "", "the signing `secret` of --print, whsec_…")
	required(cmd, "company")
	cmd.MarkFlagsRequiredTogether("print", "secret")
	cmd.MarkFlagsMutuallyExclusive("print", "endpoint")
	return cmd
}

// printFixture prints the request that a receiver would get, made by the code that the relay makes it by.
func (a *app) printFixture(event outbox.Event, secret string) error {
	if err := outbox.Check(event); err != nil { // what publishing refuses, no receiver will ever get
		return usage("%w", err)
	}
	key, err := parseSecretFlag(secret)
	if err != nil {
		return err
	}
	signer, err := sign.NewSigner(key)
	if err != nil {
		return usage("--secret: %w", err)
	}
	data, err := dataOf(event)
	if err != nil {
		return err
	}
	id, now := uuid.Must(uuid.NewV7()), time.Now()
	body := wire.Body(wire.Event{ID: id, Type: string(event.Type), CreatedAt: event.CreatedAt, Data: data}, now)
	request := wire.Request{
		ID: id, Type: string(event.Type), Timestamp: now.Unix(),
		Signature: string(signer.AppendSignature(nil, id.String(), now.Unix(), body)),
	}
	t := &table{}
	headers := map[string]string{}
	for _, field := range request.Fields() {
		headers[field.Name] = field.Value
		t.add(field.Name+":", field.Value)
	}
	t.next = &table{rows: [][]string{{string(body)}}}
	return a.print(struct {
		Headers map[string]string `json:"headers"`
		Body    string            `json:"body"` // its bytes are what was signed
	}{headers, string(body)}, t)
}

// dataOf is the event's data as the outbox would hold it.
func dataOf(event outbox.Event) ([]byte, error) {
	if raw, ok := event.Data.(outbox.Raw); ok {
		return raw, nil
	}
	data, err := json.Marshal(event.Data)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return data, nil
}

// inventedEvent is the sample of a type of the catalogue, changed.
func inventedEvent(kind string, company uuid.UUID, changes []string) (outbox.Event, error) {
	if !slices.Contains(outbox.Types(), outbox.Type(kind)) {
		return outbox.Event{}, usage("TYPE is %q: want one of %v", kind, outbox.Types())
	}
	event := outbox.NewSample(outbox.Type(kind), company)
	if len(changes) == 0 {
		return event, nil
	}
	text, err := dataOf(event)
	if err != nil {
		return event, err
	}
	var data any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // a number stays as it is written
	if err := decoder.Decode(&data); err != nil {
		return event, fmt.Errorf("decode sample: %w", err)
	}
	for _, change := range changes {
		path, value, ok := strings.Cut(change, "=")
		rest, inData := strings.CutPrefix(path, "data.")
		if !ok || !inData {
			return event, usage("--set is %q: want path=value with a path below data, such as data.survey.name=X", change)
		}
		if err := set(data, strings.Split(rest, "."), jsonOrText(value)); err != nil {
			return event, usage("--set %s: %w", path, err)
		}
	}
	if text, err = json.Marshal(data); err != nil {
		return event, fmt.Errorf("encode event: %w", err)
	}
	event.Data = outbox.Raw(text)
	return event, nil
}

func jsonOrText(value string) any {
	if json.Valid([]byte(value)) {
		return json.RawMessage(value)
	}
	return value
}

// set changes the value at a path that is there; one that is not is a typing error.
func set(in any, path []string, value any) error {
	switch in := in.(type) {
	case map[string]any:
		child, ok := in[path[0]]
		if !ok {
			return fmt.Errorf("there is no %q: want one of %q", path[0], slices.Sorted(maps.Keys(in)))
		}
		if len(path) == 1 {
			in[path[0]] = value
			return nil
		}
		return set(child, path[1:], value)
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(in) {
			return fmt.Errorf("there is no element %q: want 0 to %d", path[0], len(in)-1)
		}
		if len(path) == 1 {
			in[i] = value
			return nil
		}
		return set(in[i], path[1:], value)
	default:
		return fmt.Errorf("%q lies below a plain value", strings.Join(path, "."))
	}
}
