package relay

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// Lanes may be taken before the listener is connected: what was changed in between was told to nobody.
func TestChangeBeforeTheListenerIsConnectedIsTakenOver(t *testing.T) {
	t.Parallel()
	db, keys := schematest.New(t), relaytest.Keys(t)
	policy := egress.Policy{Insecure: true}
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Policy: policy, Keys: keys})
	require.NoError(t, err)
	e, _, err := store.Create(t.Context(), endpoint.Create{CompanyID: uuid.New(), URL: "http://127.0.0.1/old", Actor: "ada"})
	require.NoError(t, err)
	logger := slog.New(slog.DiscardHandler)
	s := &session{
		cfg: Config{DSN: db.DSN, Keys: keys, Egress: egress.Config{Policy: policy}}, db: db.DB, clock: new(clock), logger: logger,
		source: lane.NewSource(lane.Config{DB: db.DB, Logger: logger}), members: make(map[uuid.UUID]*member),
		metrics: newMetrics(nil), drained: new(atomic.Bool), reshare: make(chan struct{}, 1),
	}
	configs, err := endpoint.Load(t.Context(), db.DB, keys, []uuid.UUID{e.ID})
	require.NoError(t, err)
	m := &member{id: e.ID, companyID: e.CompanyID}
	require.True(t, s.configure(m, configs[0]))
	s.members[m.id] = m

	url := "http://127.0.0.1/new"
	_, err = store.Update(t.Context(), endpoint.Update{
		Ref: endpoint.Ref{Scope: endpoint.Company(e.CompanyID), ID: e.ID, Actor: "ada"}, URL: &url,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.listen(ctx) }()
	require.Eventually(t, func() bool { return m.target.Load().shownURL == url }, 20*time.Second, 5*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}
