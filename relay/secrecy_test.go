package relay_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// log keeps what is logged.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// listenTo logs everything, to be searched.
func (b *testBundle) listenTo() *log {
	l := new(log)
	b.cfg.Logger = slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return l
}

func (b *testBundle) withHeaders(url string, headers ...header.Header) (endpoint.Endpoint, sign.Secret) {
	b.t.Helper()
	e, secret, err := b.store.Create(b.t.Context(), endpoint.Create{
		CompanyID: b.company, URL: url + "/" + uuid.NewString(), Headers: headers, Actor: "test",
	})
	require.NoError(b.t, err)
	return e, secret
}

func (b *testBundle) ref(e endpoint.Endpoint) endpoint.Ref {
	return endpoint.Ref{Scope: endpoint.Company(e.CompanyID), ID: e.ID, Actor: "test"}
}

// gauge is a metric's value by one label.
func gauge(t *testing.T, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == label {
				return m.GetGauge().GetValue()
			}
		}
	}
	require.Fail(t, "no such metric", "%s %s", name, label)
	return 0
}

func TestCustomHeadersGoWithEveryRequestAndAreMaskedInTheHistory(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	e, secret := b.withHeaders(receiver.URL, header.New("Authorization", "Bearer tea"), header.New("x-TEAM", "a b"))
	b.run()
	b.publish(b.started())
	_, err := b.store.Test(t.Context(), b.ref(e))
	require.NoError(t, err)
	for _, a := range receiver.Await(t, 2, within) {
		require.Equal(t, []string{"Bearer tea"}, a.Header.Values("Authorization"))
		require.Equal(t, []string{"a b"}, a.Header.Values("X-Team"))
		verify(t, secret, a)
	}
	b.await(2, `SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.succeeded'`)
	for _, f := range b.facts("attempt.succeeded") {
		var attempt fact.Attempt
		require.NoError(t, json.Unmarshal(f, &attempt))
		require.Equal(t, map[string]string{"Authorization": "***", "x-TEAM": "***"}, attempt.CustomHeaders)
	}

	// A change reaches the running relay.
	_, err = b.store.Update(t.Context(), endpoint.Update{
		Ref: b.ref(e), Headers: []header.Header{header.New("authorization", "Bearer milk")}, RemoveHeaders: []string{"X-Team"},
	})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		b.publish(b.started())
		list := receiver.Await(t, len(receiver.Arrivals())+1, within)
		last := list[len(list)-1].Header
		return last.Get("Authorization") == "Bearer milk" && last.Get("X-Team") == ""
	}, within, 10*time.Millisecond)
}

func TestNoCustomHeaderHasTheNameOfOneOfOurs(t *testing.T) {
	t.Parallel()
	for _, field := range (wire.Request{}).Fields() {
		faults := header.Check(header.New(field.Name, "v"))
		require.Len(t, faults, 1, field.Name)
		require.Equal(t, header.CodeReserved, faults[0].Code, field.Name)
	}
}

// TestB33_EndpointWhoseKeyIsMissingWaitsUncharged takes a key away, and gives it back while the relay runs.
func TestB33_EndpointWhoseKeyIsMissingWaitsUncharged(t *testing.T) {
	t.Parallel()
	b, lost, other := setup(t), relaytest.NewReceiver(t), relaytest.NewReceiver(t)
	first, second := relaytest.Key(t, "first"), relaytest.Key(t, "second")
	b.keys.Replace(relaytest.Ring(t, first))
	e, secret := b.withHeaders(lost.URL, header.New("X-Key", "tea"))
	b.keys.Replace(relaytest.Ring(t, second))
	b.endpoint(other.URL)
	registry := prometheus.NewRegistry()
	b.cfg.Metrics = registry
	output := b.listenTo()
	b.run()

	ids := b.publish(b.started(), b.started(), b.started())
	_, err := b.store.Test(t.Context(), b.ref(e))
	require.NoError(t, err)
	other.Await(t, 3, within)
	b.await(4, `SELECT count(*) FROM webhooks.pending`)
	b.await(4, `SELECT count(*) FROM webhooks.pending WHERE endpoint_id = $1 AND completed = 0 AND started = 0 AND due_at IS NULL`, e.ID)
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE endpoint_id = $1 AND holder IS NOT NULL`, e.ID)
	require.Empty(t, lost.Arrivals(), "tests wait, too")
	require.Eventually(t, func() bool { return gauge(t, registry, "surveyhooks_lanes_waiting", "sealed") == 1 }, within, 10*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(output.String(), `\"first\" is not in the keyring`) }, within, 10*time.Millisecond)
	require.Contains(t, output.String(), e.ID.String())

	b.keys.Replace(relaytest.Ring(t, second, first))
	arrivals := lost.Await(t, 4, within)
	got := map[string]int{}
	for _, a := range arrivals {
		verify(t, secret, a)
		require.Equal(t, "tea", a.Header.Get("X-Key"))
		got[a.ID()]++
	}
	for _, id := range ids {
		require.Equal(t, 1, got[id.String()])
	}
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, b.facts("attempt.succeeded"), 7)
	require.Empty(t, b.facts("attempt.failed"))
	require.Eventually(t, func() bool { return gauge(t, registry, "surveyhooks_lanes_waiting", "sealed") == 0 }, within, 10*time.Millisecond)
}

// TestRunningEndpointOutlivesAKeyItNeedsNoMore seals everything with a key that the running relay lacks. What it has
// opened still holds; what is new to it waits.
func TestRunningEndpointOutlivesAKeyItNeedsNoMore(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	old, fresh := relaytest.Key(t, "old"), relaytest.Key(t, "fresh")
	b.keys.Replace(relaytest.Ring(t, old))
	e, secret := b.endpoint(receiver.URL)
	output := b.listenTo()
	b.run()
	b.publish(b.started())
	receiver.Await(t, 1, within)

	report, err := endpoint.Reseal(t.Context(), b.DB.DB, relaytest.Ring(t, fresh, old), false)
	require.NoError(t, err)
	require.Equal(t, 1, report.Sealed)
	require.Eventually(t, func() bool { return strings.Contains(output.String(), `"waits":false`) }, within, 10*time.Millisecond)
	b.publish(b.started())
	verify(t, secret, receiver.Await(t, 2, within)[1])

	// A new secret that cannot be opened is another matter: the old one would be wrong.
	store, err := endpoint.New(endpoint.Options{DB: b.DB.DB, Keys: relaytest.Ring(t, fresh)})
	require.NoError(t, err)
	_, rotated, err := store.RotateSecret(t.Context(), b.ref(e), sign.Secret{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(output.String(), `"waits":true`) }, within, 10*time.Millisecond)
	b.publish(b.started())
	b.await(1, `SELECT count(*) FROM webhooks.pending`)
	b.keys.Replace(relaytest.Ring(t, fresh))
	verify(t, rotated, receiver.Await(t, 3, within)[2])
	require.Empty(t, b.facts("attempt.failed"))
}

// TestI10PlantedSecretsStayOutOfLogsFactsAndHistory makes real deliveries, good and bad ones, logs everything, and looks
// for what must not be there.
func TestI10PlantedSecretsStayOutOfLogsFactsAndHistory(t *testing.T) {
	t.Parallel()
	const phone, name, credential, token = "+15550917342", "Plantagenet", "Bearer planted-credential-91", "planted-token-17"
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Breaker = breaker.Config{Failures: 100}
	output := b.listenTo()
	create := func(url string) (endpoint.Endpoint, sign.Secret) {
		e, secret, err := b.store.Create(t.Context(), endpoint.Create{
			CompanyID: b.company, URL: url + "?token=" + token, Headers: []header.Header{header.New("Authorization", credential)}, Actor: "test",
		})
		require.NoError(t, err)
		return e, secret
	}
	good, secret := create(receiver.URL + "/good")
	create(receiver.URL + "/bad")
	create(receiver.URL + "/cut")
	create("http://127.0.0.1:1/refused")
	receiver.Answer(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		case "/cut":
			panic(http.ErrAbortHandler)
		}
	})
	_, rotated, err := b.store.RotateSecret(t.Context(), b.ref(good), sign.Secret{})
	require.NoError(t, err)
	stop := b.run()
	event := b.started()
	data := event.Data.(outbox.ConversationStarted)
	data.Respondent.FirstName, data.Respondent.Phone = name, phone
	event.Data = data
	b.publish(event)
	b.await(3, `SELECT count(*) FROM webhooks.journal WHERE fact = 'delivery.exhausted'`)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	arrivals := receiver.Await(t, 1+6+6, within)
	require.Contains(t, string(arrivals[0].Body), phone, "the receiver does get it")
	require.Equal(t, credential, arrivals[0].Header.Get("Authorization"))

	_, _, err = b.store.Create(t.Context(), endpoint.Create{
		CompanyID: b.company, URL: "https://example.com/?token=" + token, Headers: []header.Header{header.New("Host", credential)}, Secret: secret, Actor: "test",
	})
	require.Error(t, err)
	fmt.Fprintln(output, err)
	stop()

	searched := output.String()
	require.Contains(t, searched, "delivery.attempted")
	for _, table := range []string{"journal", "pending", "intents", "lanes", "relays", "event_ids", "quarantine"} {
		var rows string
		require.NoError(t, b.QueryRow(`SELECT coalesce(string_agg(t::text, chr(10)), '') FROM webhooks.`+table+` t`).Scan(&rows), table)
		searched += rows
	}
	require.Contains(t, searched, "attempt.failed")
	leaks := []string{phone, name, credential, "planted-credential", token}
	for _, s := range []sign.Secret{secret, rotated} {
		encoded := strings.TrimPrefix(s.Reveal(), "whsec_")
		raw, err := base64.StdEncoding.DecodeString(encoded)
		require.NoError(t, err)
		leaks = append(leaks, encoded, string(raw), fmt.Sprintf("%x", raw))
	}
	for _, leak := range leaks {
		require.NotContains(t, searched, leak)
		require.NotContains(t, searched, base64.StdEncoding.EncodeToString([]byte(leak)))
	}
}
