package fact_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

var update = flag.Bool("update", false, "write the golden files that are missing; the others are never edited")

// bodies gives every name of the vocabulary a body with every field set.
func bodies() map[fact.Name]any {
	endpointID := uuid.MustParse("0190b5a0-0000-7000-8000-000000000001")
	eventID := uuid.MustParse("0190b5a0-0000-7000-8000-000000000002")
	relayID := uuid.MustParse("0190b5a0-0000-7000-8000-000000000003")
	at := time.Date(2026, 3, 4, 5, 6, 7, 890123000, time.UTC)
	next, first := at.Add(10*time.Second), at.Add(-10*time.Second)
	deliveryID := int64(42)

	before := &fact.EndpointConfig{URL: "https://example.com/old", State: "enabled"}
	after := &fact.EndpointConfig{
		URL: "https://example.com/hook", Description: "orders", EventTypes: []string{"conversation.started"}, State: "enabled",
	}
	endpoint := func(version int, reason fact.Reason, before, after *fact.EndpointConfig) fact.Endpoint {
		return fact.Endpoint{
			EndpointID: endpointID, Version: version, Actor: "ada@example.com", Reason: reason, Old: before, New: after,
		}
	}
	disabled := &fact.EndpointConfig{URL: "https://example.com/hook", State: "disabled"}
	attempt := func(reason fact.Reason, status int, state fact.State) fact.Attempt {
		return fact.Attempt{
			AttemptID:  fact.AttemptID{DeliveryID: deliveryID, Attempt: 2},
			EndpointID: endpointID, EventID: eventID, EventType: "conversation.started", Generation: 1,
			Trigger: fact.Automatic, StartedAt: at, Reason: reason, Detail: reason.Words(), Status: status,
			Completed: 2, State: state, FirstAttemptAt: first, NextAttemptAt: &next,
			Request: fact.Request{
				ConfigVersion: 3, URL: "https://example.com/hook", Timestamp: at.Unix(), Signature: "v1,c2lnbmF0dXJl", Bytes: 512,
			},
			Response: fact.Response{
				Headers: map[string][]string{"Content-Type": {"text/plain"}}, Body: []byte("thanks"), Truncated: true,
			},
			RemoteAddr: "192.0.2.1:443",
			Timing:     fact.Timing{DNS: 100, Connect: 200, TLS: 300, FirstByte: 400, Total: 1000},
		}
	}
	delivery := func(state fact.State, actor string, reason fact.Reason) fact.Delivery {
		return fact.Delivery{
			DeliveryID: deliveryID, EndpointID: endpointID, EventID: eventID, Generation: 1, State: state, Actor: actor, Reason: reason,
		}
	}
	return map[fact.Name]any{
		fact.EndpointCreated:       endpoint(1, fact.ByRequest, nil, after),
		fact.EndpointUpdated:       endpoint(2, fact.ByRequest, before, after),
		fact.EndpointEnabled:       endpoint(3, fact.ByRequest, disabled, after),
		fact.EndpointDisabled:      endpoint(4, fact.Gone, after, disabled),
		fact.EndpointDeleted:       endpoint(5, fact.ByRequest, after, nil),
		fact.EndpointSecretRotated: endpoint(6, fact.ByRequest, nil, nil),
		fact.EventFannedOut: fact.FannedOut{
			EventID: eventID, EventType: "conversation.started", CreatedAt: at, Position: 7,
			Decisions: []fact.EndpointChoice{
				{EndpointID: endpointID, Version: 3, Decision: fact.Chosen, DeliveryID: &deliveryID, Trigger: fact.Automatic},
				{EndpointID: relayID, Version: 1, Decision: fact.TypeNotSelected, Trigger: fact.Automatic},
			},
		},
		fact.DeliveryRequested: fact.Requested{
			DeliveryID: deliveryID, EndpointID: endpointID, EventID: eventID, EventType: "conversation.started", Version: 3,
			Trigger: fact.Manual, Actor: "ada@example.com", Reason: fact.ByRequest,
		},
		fact.AttemptsStarted: fact.Started{
			RelayID: relayID, Batch: 9, StartedAt: at, Attempts: []fact.AttemptID{{DeliveryID: deliveryID, Attempt: 1}},
		},
		fact.AttemptSucceeded:   attempt(fact.OK, 200, fact.Delivered),
		fact.AttemptFailed:      attempt(fact.StatusServer, 503, fact.Retrying),
		fact.AttemptInterrupted: attempt(fact.Interrupted, 0, fact.Retrying),
		fact.AttemptStale:       attempt(fact.Stale, 0, fact.Retrying),
		fact.DeliveryExhausted:  delivery(fact.Exhausted, "relay", fact.RetriesUsedUp),
		fact.DeliveryCancelled:  delivery(fact.Cancelled, "ada@example.com", fact.EndpointGoneForGood),
		fact.DeliveryReplayed:   delivery(fact.Pending, "ada@example.com", fact.ByRequest),
		fact.BreakerOpened:      fact.Breaker{EndpointID: endpointID, NotBefore: &next},
		fact.BreakerHalfOpened:  fact.Breaker{EndpointID: endpointID},
		fact.BreakerClosed:      fact.Breaker{EndpointID: endpointID},
	}
}

func TestJSONOfAFactNeverChanges(t *testing.T) {
	t.Parallel()

	bodies := bodies()
	for _, name := range fact.Names() {
		t.Run(strings.NewReplacer(".", "", "_", "").Replace(string(name)), func(t *testing.T) {
			t.Parallel()

			body, ok := bodies[name]
			require.True(t, ok, "give %s a body in bodies()", name)
			requireGolden(t, "testdata", name, body)
		})
	}
}

// TestARateLimitIsInTheFactsOfItsEndpoint beside what was there before it: the files of the same version, which lack it,
// are read as having none (TestJSONOfAFactNeverChanges).
func TestARateLimitIsInTheFactsOfItsEndpoint(t *testing.T) {
	t.Parallel()

	for _, name := range []fact.Name{fact.EndpointCreated, fact.EndpointUpdated} {
		body, isEndpoint := bodies()[name].(fact.Endpoint)
		require.True(t, isEndpoint)
		one, hundred := 1, 100
		body.New.RateLimit = &hundred
		if body.Old != nil {
			body.Old.RateLimit = &one
		}
		requireGolden(t, filepath.Join("testdata", "rate_limit"), name, body)
	}
}

// TestANoteIsInTheFactThatDisables, and left out of those in which nothing was said.
func TestANoteIsInTheFactThatDisables(t *testing.T) {
	t.Parallel()

	body, isEndpoint := bodies()[fact.EndpointDisabled].(fact.Endpoint)
	require.True(t, isEndpoint)
	body.Note = "Moving to the new CRM."
	requireGolden(t, filepath.Join("testdata", "note"), fact.EndpointDisabled, body)
}

func requireGolden(t *testing.T, folder string, name fact.Name, body any) {
	t.Helper()

	got, err := fact.Fact{Name: name, Body: body}.MarshalBody()
	require.NoError(t, err)

	golden := filepath.Join(folder, string(name)+".v"+strconv.Itoa(name.Version())+".json")
	want, err := os.ReadFile(golden)
	if errors.Is(err, fs.ErrNotExist) && *update {
		var text bytes.Buffer
		require.NoError(t, json.Indent(&text, got, "", "  "))
		text.WriteByte('\n')
		want = text.Bytes()
		require.NoError(t, os.WriteFile(golden, want, 0o600))
		err = nil
	}
	require.NoError(t, err, "a new fact gets a golden file: go test ./schema/fact -update")

	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, want))
	require.Equal(t, compact.String(), string(got), "a fact's JSON is for ever: give a new shape a new version")

	// What was written in the past reads back whole, into the struct of today.
	decoder := json.NewDecoder(bytes.NewReader(want))
	decoder.DisallowUnknownFields()
	read := reflect.New(reflect.TypeOf(body))
	require.NoError(t, decoder.Decode(read.Interface()))
	require.Equal(t, body, read.Elem().Interface())
}

func TestEveryGoldenFileBelongsToANameAndEveryNameHasOneBody(t *testing.T) {
	t.Parallel()

	files, err := filepath.Glob("testdata/*.json")
	require.NoError(t, err)
	versions := 0
	for _, name := range fact.Names() {
		versions += name.Version()
	}
	if !*update { // else they are being written right now
		require.Len(t, files, versions)
	}
	require.Len(t, bodies(), len(fact.Names()))
	require.ElementsMatch(t, constants(t, "Name"), fact.Names(), "Names lists every constant of type Name once")
}

func TestEveryReasonHasWords(t *testing.T) {
	t.Parallel()

	seen := map[string]fact.Reason{}
	for _, text := range constants(t, "Reason") {
		reason := fact.Reason(text)
		words := reason.Words()
		require.NotEqual(t, string(reason), words, "say %s to a person", reason)
		require.NotEmpty(t, words)
		require.True(t, reason.Known())
		require.Empty(t, seen[words], "%s and %s must read differently", reason, seen[words])
		seen[words] = reason
	}
	require.False(t, fact.Reason("from_the_future").Known())
	require.Equal(t, "from_the_future", fact.Reason("from_the_future").Words(), "an unknown reason is said as it is")
}

func TestOnlyCompletedAttemptsUseUpARetry(t *testing.T) {
	t.Parallel()

	charged := map[fact.Reason]bool{
		fact.OK: true, fact.StatusRedirect: true, fact.StatusClient: true, fact.StatusGone: true, fact.StatusThrottled: true,
		fact.StatusServer: true, fact.Timeout: true, fact.DNS: true, fact.Connect: true, fact.ConnectTimeout: true,
		fact.TLS: true, fact.Reset: true, fact.Protocol: true, fact.HeaderTooLarge: true, fact.BlockedDestination: true,
		fact.Interrupted: false, fact.Stale: false, fact.Local: false,
	}
	for reason, want := range charged {
		require.Equal(t, want, reason.Charged(), "%s", reason)
	}
	ofDeliveries := []fact.Reason{
		fact.ByRequest, fact.Gone, fact.FailingPersistently, fact.EndpointGoneForGood, fact.RetriesUsedUp,
	}
	require.Len(t, constants(t, "Reason"), len(charged)+len(ofDeliveries), "a new reason of attempts is charged or not: say so here")
}

func TestABodyThatIsNoJSONIsRefusedByName(t *testing.T) {
	t.Parallel()

	_, err := fact.Fact{Name: fact.EndpointCreated, Body: make(chan int)}.MarshalBody()
	require.ErrorContains(t, err, "encode fact endpoint.created")
}

// constants are the values of the package's constants of a type: the compiler's list, not a second one kept by hand.
func constants(t *testing.T, typeName string) []fact.Name {
	t.Helper()

	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	var values []fact.Name
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if ident, ok := spec.Type.(*ast.Ident); !ok || ident.Name != typeName {
				return true
			}
			for _, value := range spec.Values {
				if lit, ok := value.(*ast.BasicLit); ok {
					values = append(values, fact.Name(constant.StringVal(constant.MakeFromLiteral(lit.Value, lit.Kind, 0))))
				}
			}
			return true
		})
	}
	return values
}
