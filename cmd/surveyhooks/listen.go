package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

const (
	forwardWithin = 30 * time.Second // what a receiver is promised
	maxStreamLine = 1 << 20          // an event in base64, and its envelope
	maxReconnect  = 10 * time.Second
)

// listenOptions are the flags of listen.
type listenOptions struct {
	company     uuid.UUID
	forwardTo   string
	events      []string
	secret      string
	printSecret bool
	api         apiOptions
}

// apiOptions are the flags of verbs that talk to a running serve instead of the database.
type apiOptions struct{ url, key string }

func (o *apiOptions) define(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.url, "api-url", "http://127.0.0.1:8080", "`URL` of a running surveyhooks serve")
	cmd.Flags().StringVar(&o.key, "api-key", "", "the API `key`, whk_…")
}

func newListenCommand(a *app) *cobra.Command {
	var o listenOptions
	cmd := &cobra.Command{
		Use:   "listen --company UUID --forward-to URL",
		Short: "Bring a company's live events to a receiver on this machine, without a tunnel",
		Long: `Reads a company's events from a running surveyhooks serve as they happen, and posts each one to a receiver here,
signed as the relay signs, with a secret of this run. Nothing is recorded and no endpoint is told less. Ctrl-C ends it.`,
		Example: `  surveyhooks listen --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --forward-to http://localhost:3000/hook --print-secret
  surveyhooks listen --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --forward-to http://localhost:3000/hook --events conversation.completed -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := newForwarder(a, o)
			if err != nil {
				return err
			}
			return l.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&o.company}, "company", "the company whose events to bring")
	flags.StringVar(&o.forwardTo, "forward-to", "", "the `URL` of the receiver, such as http://localhost:3000/hook")
	flags.StringSliceVar(&o.events, "events", nil, "the event `types` to bring (default: all)")
	flags.StringVar(&o.secret, "secret", "", "the signing `secret`, whsec_… (default: a new one)")
	flags.BoolVar(&o.printSecret, "print-secret", false, "print the secret first, for the receiver's configuration")
	o.api.define(cmd)
	required(cmd, "company", "forward-to", "api-key")
	return cmd
}

// forwarder posts what a stream brings.
type forwarder struct {
	app     *app
	stream  *http.Request // without a place in the stream
	target  string
	secret  sign.Secret
	shown   bool
	signer  *sign.Signer
	client  *http.Client
	resumed string // the place of the last event that was forwarded
}

func newForwarder(a *app, o listenOptions) (*forwarder, error) {
	target, err := url.Parse(o.forwardTo)
	if err != nil || target.Scheme != "http" && target.Scheme != "https" || target.Host == "" {
		return nil, usage("--forward-to is %q: want the URL of a receiver, such as http://localhost:3000/hook", o.forwardTo)
	}
	for _, kind := range o.events {
		if !slices.Contains(outbox.Types(), outbox.Type(kind)) {
			return nil, usage("--events has %q: want some of %v", kind, outbox.Types())
		}
	}
	secret := sign.NewSecret()
	if o.secret != "" {
		if secret, err = parseSecretFlag(o.secret); err != nil {
			return nil, err
		}
	}
	signer, err := sign.NewSigner(secret)
	if err != nil {
		return nil, usage("--secret: %w", err)
	}
	stream, err := o.api.request(http.MethodGet, "/v1/companies/"+o.company.String()+"/stream")
	if err != nil {
		return nil, err
	}
	if len(o.events) > 0 {
		stream.URL.RawQuery = url.Values{"types": {strings.Join(o.events, ",")}}.Encode()
	}
	stream.Header.Set("Accept", "text/event-stream")
	return &forwarder{
		app: a, stream: stream, target: target.String(), secret: secret, shown: o.printSecret, signer: signer,
		client: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// request makes a request to the API, with its key.
func (o *apiOptions) request(method, path string) (*http.Request, error) {
	base, err := url.Parse(o.url)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, usage("--api-url is %q: want the URL of surveyhooks serve, such as https://hooks.example.com", o.url)
	}
	//nolint:noctx // each use clones it with its own
	request, err := http.NewRequest(method, base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, usage("--api-url: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+o.key)
	return request, nil
}

// refusedError is an answer of the API that trying again does not change.
type refusedError struct {
	status int
	words  string
}

// Error says what the API said.
func (e *refusedError) Error() string {
	return fmt.Sprintf("the API answered %d: %s", e.status, e.words)
}

// run follows the stream until ctx ends, and connects again where it broke off.
func (f *forwarder) run(ctx context.Context) error {
	if f.shown {
		f.app.say("secret %s", f.secret.Reveal())
	}
	f.app.say("forwarding to %s; Ctrl-C ends it", f.target)
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, maxReconnect) {
		began := time.Now()
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was asked to end
		}
		if refused, ok := errors.AsType[*refusedError](err); ok {
			return refused.exit()
		}
		if time.Since(began) > time.Minute {
			wait = 200 * time.Millisecond
		}
		f.app.say("the stream broke off (%s); it goes on where it was in %s", oneLine(err.Error()), wait)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

func (e *refusedError) exit() error {
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &exitError{code: exitFailure, err: fmt.Errorf("%w: is --api-key right, and not revoked?", e)}
	case http.StatusNotFound:
		return notFound("%w: is --company one that the key reaches?", e)
	default:
		return &exitError{code: exitFailure, err: e}
	}
}

// follow reads one connection's worth of the stream.
func (f *forwarder) follow(ctx context.Context) error {
	request := f.stream.Clone(ctx)
	if f.resumed != "" {
		request.Header.Set("Last-Event-ID", f.resumed)
	}
	response, err := f.client.Do(request)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return f.refused(response)
	}
	f.app.say("connected")
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, maxStreamLine)
	var id string
	var data []byte
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case lines.Text() == "" && len(data) > 0: // the end of an event
			if err := f.forward(ctx, data); err != nil {
				return err
			}
			f.resumed, data = id, nil
		case field == "id":
			id = value
		case field == "data":
			data = append(data, value...)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	return errors.New("it ended")
}

func (f *forwarder) refused(response *http.Response) error {
	var problem struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10)) // what cannot be read is not told
	_ = json.Unmarshal(text, &problem)
	words := strings.TrimSpace(oneLine(problem.Title + " " + problem.Detail))
	if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
		return fmt.Errorf("the API answered %d %s", response.StatusCode, words) // it may be better soon
	}
	return &refusedError{status: response.StatusCode, words: orDash(words)}
}

// forwarded is what one event came to.
type forwarded struct {
	EventID   string `json:"event_id"`
	EventType string `json:"event_type"`
	Status    int    `json:"status"` // 0: no answer
	Error     string `json:"error"`
	TookMS    int64  `json:"took_ms"`
}

// forward posts one event. What the receiver answers is told, and is no reason to stop; only a stream that cannot be
// understood is.
func (f *forwarder) forward(ctx context.Context, data []byte) error {
	var event struct {
		Headers map[string]string `json:"headers"`
		Body    []byte            `json:"body_base64"`
	}
	if err := json.Unmarshal(data, &event); err != nil {
		return fmt.Errorf("understand event: %w: are serve and this command of the same version?", err)
	}
	told := forwarded{EventID: event.Headers["X-Webhook-ID"], EventType: event.Headers["X-Webhook-Event"]}
	began := time.Now()
	status, err := f.post(ctx, told.EventID, event.Headers, event.Body)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	told.Status, told.TookMS = status, time.Since(began).Milliseconds()
	if err != nil {
		told.Error = oneLine(err.Error())
	}
	return f.tell(told)
}

func (f *forwarder) post(ctx context.Context, id string, headers map[string]string, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.target, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("make request: %w", err)
	}
	now := time.Now().Unix() // of this attempt: an event that waited here must not look like a replay
	for name, value := range headers {
		request.Header[name] = []string{value}
	}
	timestamp := strconv.FormatInt(now, 10)
	request.Header["X-Webhook-Timestamp"] = []string{timestamp}
	request.Header["webhook-timestamp"] = []string{timestamp}
	request.Header["webhook-signature"] = []string{string(f.signer.AppendSignature(nil, id, now, body))}
	response, err := f.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection is used again
	return response.StatusCode, nil
}

func (f *forwarder) tell(told forwarded) error {
	if f.app.output != "table" {
		if err := json.NewEncoder(f.app.stdout).Encode(told); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return nil
	}
	answer := strconv.Itoa(told.Status)
	if told.Error != "" {
		answer = told.Error
	}
	return f.app.printLine([]int{0, 26}, time.Now().Format("15:04:05.000"), told.EventType, told.EventID, answer, number(told.TookMS)+" ms")
}
