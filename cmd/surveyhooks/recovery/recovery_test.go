package recovery_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testBundle is an endpoint with deliveries that failed, one a minute, the first an hour ago.
type testBundle struct {
	*testing.T

	db       *schematest.DB
	store    *endpoint.Store
	service  *recovery.Service
	company  uuid.UUID
	endpoint uuid.UUID
	first    time.Time
	request  recovery.Request
}

func setup(t *testing.T, failed int) *testBundle {
	t.Helper()
	db := schematest.New(t)
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Keys: relaytest.Keys(t)})
	require.NoError(t, err)
	company := uuid.New()
	e, _, err := store.Create(t.Context(), endpoint.Create{CompanyID: company, URL: "https://example.com", Actor: "ada"})
	require.NoError(t, err)
	b := &testBundle{
		T: t, db: db, store: store, company: company, endpoint: e.ID,
		first: time.Now().UTC().Add(-time.Hour).Truncate(time.Second),
	}
	b.service = b.new(recovery.Config{Rate: 10, Poll: 5 * time.Millisecond})
	b.request = recovery.Request{CompanyID: company, EndpointID: e.ID, Since: b.first, Actor: "ada", Key: "k"}
	b.exec(`WITH o AS (
		INSERT INTO webhooks.outbox (event_type, company_id, data)
		SELECT 'conversation.started', $1, '{}' FROM generate_series(1, $2::int) RETURNING *
	), i AS (
		INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM o
	)
	INSERT INTO webhooks.deliveries (delivery_id, endpoint_id, event_id, company_id, event_type, state, trigger, attempts, created_at,
	       first_attempt_at, finished_at, last_reason)
	SELECT n, $3, event_id, $1, 'conversation.started', 'exhausted', 'automatic', 6, $4, $4, $4::timestamptz + (n - 1) * interval '1 minute', 'timeout'
	  FROM (SELECT event_id, row_number() OVER (ORDER BY position) AS n FROM o) f`, company, failed, e.ID, b.first)
	return b
}

func (b *testBundle) new(c recovery.Config) *recovery.Service {
	c.DB = b.db.DB
	return recovery.New(c)
}

func (b *testBundle) exec(query string, args ...any) {
	b.Helper()
	_, err := b.db.ExecContext(b.Context(), query, args...)
	require.NoError(b, err)
}

func (b *testBundle) count(query string, args ...any) (n int) {
	b.Helper()
	require.NoError(b, b.db.QueryRowContext(b.Context(), query, args...).Scan(&n))
	return n
}

// run runs services until the test, or the returned function, ends them.
func (b *testBundle) run(services ...*recovery.Service) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, len(services))
	for _, s := range services {
		go func() { done <- s.Run(ctx) }()
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range services {
			require.NoError(b, <-done)
		}
	}
	b.Cleanup(stop)
	return stop
}

func (b *testBundle) await(id uuid.UUID, want func(recovery.Recovery) bool) (r recovery.Recovery) {
	b.Helper()
	require.Eventually(b, func() bool {
		var err error
		r, err = b.service.Get(b.Context(), b.company, id)
		return err == nil && want(r)
	}, 30*time.Second, 5*time.Millisecond)
	return r
}

func ended(r recovery.Recovery) bool { return r.State != recovery.Running }

func TestRecoverySendsAgainWhatFailed(t *testing.T) {
	t.Parallel()

	t.Run("EachOnceWithAFact", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 35)
		b.exec(`UPDATE webhooks.deliveries SET trigger = 'test' WHERE delivery_id = 35`)
		b.exec(`UPDATE webhooks.deliveries SET state = 'delivered', last_reason = 'ok' WHERE delivery_id = 34`)
		b.exec(`DELETE FROM webhooks.event_ids WHERE event_id = (SELECT event_id FROM webhooks.deliveries WHERE delivery_id = 33)`)
		n, err := b.service.Count(t.Context(), b.request)
		require.NoError(t, err)
		require.Equal(t, 33, n.Deliveries)
		r, err := b.service.Start(t.Context(), b.request)
		require.NoError(t, err)
		require.Equal(t, 33, r.Total)
		b.run(b.service, b.new(recovery.Config{Rate: 10, Poll: time.Millisecond}), b.new(recovery.Config{Rate: 10, Poll: time.Millisecond}))
		r = b.await(r.ID, ended)
		require.Equal(t, recovery.Done, r.State)
		require.Equal(t, 32, r.Replayed)
		require.Equal(t, 1, r.Skipped, "its event is no longer kept")
		require.Equal(t, 32, b.count(`SELECT count(*) FROM webhooks.pending WHERE generation = 2 AND trigger = 'manual' AND started = 0`))
		require.Equal(t, 32, b.count(`SELECT count(*) FROM webhooks.journal WHERE fact = 'delivery.replayed' AND company_id = $1
			AND data ->> 'actor' = 'ada'`, b.company))
		// The history follows from the facts, and then there is nothing left to recover.
		require.NoError(t, projections.New(projections.Config{DB: b.db.DB}).RunToEnd(t.Context()))
		n, err = b.service.Count(t.Context(), b.request)
		require.NoError(t, err)
		require.Equal(t, 1, n.Deliveries)
	})

	t.Run("OnlyOfItsSpan", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 30)
		b.request.Since, b.request.Until = b.first.Add(10*time.Minute), b.first.Add(20*time.Minute)
		r, err := b.service.Start(t.Context(), b.request)
		require.NoError(t, err)
		require.Equal(t, 10, r.Total)
		b.run(b.service)
		require.Equal(t, 10, b.await(r.ID, ended).Replayed)
		require.Equal(t, 10, b.count(`SELECT count(*) FROM webhooks.pending WHERE delivery_id BETWEEN 11 AND 20`))
	})

	t.Run("AtItsPace", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 5)
		r, err := b.service.Start(t.Context(), b.request)
		require.NoError(t, err)
		slow := b.new(recovery.Config{Rate: 2, Poll: time.Millisecond})
		begin := time.Now()
		b.run(slow)
		b.await(r.ID, ended)
		require.GreaterOrEqual(t, time.Since(begin), 2*time.Second, "5 at 2 a second: the last one after 2 seconds")
	})

	t.Run("FromWhereACrashLeftIt", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 25)
		r, err := b.service.Start(t.Context(), b.request)
		require.NoError(t, err)
		stop := b.run(b.service)
		b.await(r.ID, func(r recovery.Recovery) bool { return r.Replayed > 0 })
		stop()
		b.run(b.new(recovery.Config{Rate: 10, Poll: time.Millisecond}))
		require.Equal(t, 25, b.await(r.ID, ended).Replayed)
		require.Equal(t, 25, b.count(`SELECT count(*) FROM webhooks.journal WHERE fact = 'delivery.replayed'`))
	})
}

func TestRecoveryWaits(t *testing.T) {
	t.Parallel()
	for wait, c := range map[string]struct{ block, release string }{
		"enabled": {`UPDATE webhooks.endpoints SET state = 'disabled'`, `UPDATE webhooks.endpoints SET state = 'enabled'`},
		"breaker": {`UPDATE webhooks.lanes SET breaker = 'open'`, `UPDATE webhooks.lanes SET breaker = 'closed'`},
		"backlog": {
			`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id)
			 SELECT endpoint_id, 1000 + n, gen_random_uuid() FROM webhooks.endpoints, generate_series(1, 200) n`,
			`DELETE FROM webhooks.pending WHERE delivery_id > 1000`,
		},
	} {
		t.Run("For_"+wait, func(t *testing.T) {
			t.Parallel()
			b := setup(t, 3)
			r, err := b.service.Start(t.Context(), b.request)
			require.NoError(t, err)
			b.exec(c.block)
			b.run(b.service)
			r = b.await(r.ID, func(r recovery.Recovery) bool { return r.WaitsFor != "" })
			require.Equal(t, wait, r.WaitsFor)
			require.Zero(t, r.Replayed)
			b.exec(c.release)
			require.Equal(t, 3, b.await(r.ID, ended).Replayed)
		})
	}

	t.Run("NotForADeletedEndpoint", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 3)
		r, err := b.service.Start(t.Context(), b.request)
		require.NoError(t, err)
		require.NoError(t, b.store.Delete(t.Context(), endpoint.Ref{Scope: endpoint.AnyCompany(), ID: b.endpoint, Actor: "ada"}))
		b.run(b.service)
		require.Equal(t, recovery.Failed, b.await(r.ID, ended).State)
	})
}

func TestStart(t *testing.T) {
	t.Parallel()

	t.Run("TheSameKeyIsOneRecoveryHoweverFast", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 3)
		ids := make(chan uuid.UUID)
		for range 4 {
			go func() {
				r, err := b.service.Start(b.Context(), b.request)
				if err != nil {
					t.Error(err)
				}
				ids <- r.ID
			}()
		}
		first := <-ids
		for range 3 {
			require.Equal(t, first, <-ids)
		}
		require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.recoveries`))
	})

	t.Run("OneAtATimeForAnEndpoint", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 3)
		r, err := b.service.Start(t.Context(), b.request)
		require.NoError(t, err)
		b.request.Key = "other"
		_, err = b.service.Start(t.Context(), b.request)
		var running *recovery.RunningError
		require.ErrorAs(t, err, &running)
		require.Equal(t, r.ID, running.ID)
	})

	t.Run("AKeyIsForOneRequest", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 3)
		_, err := b.service.Start(t.Context(), b.request)
		require.NoError(t, err)
		b.request.Since = b.first.Add(time.Minute)
		_, err = b.service.Start(t.Context(), b.request)
		var reused *recovery.KeyError
		require.ErrorAs(t, err, &reused)
	})

	t.Run("B57_MoreThanTheCapIsRefused", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 4)
		small := b.new(recovery.Config{Cap: 3})
		n, err := small.Count(t.Context(), b.request)
		require.NoError(t, err)
		require.Equal(t, 4, n.Deliveries)
		_, err = small.Start(t.Context(), b.request)
		var many *recovery.TooManyError
		require.ErrorAs(t, err, &many)
	})

	t.Run("NothingToDoIsSaid", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0)
		_, err := b.service.Start(t.Context(), b.request)
		var nothing *recovery.NothingError
		require.ErrorAs(t, err, &nothing)
	})

	t.Run("BadRequestsNameTheField", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 1)
		for _, c := range []struct {
			field  string
			change func(*recovery.Request)
		}{
			{"since", func(r *recovery.Request) { r.Since = time.Time{} }},
			{"since", func(r *recovery.Request) { r.Since = time.Now().Add(time.Hour) }},
			{"kind", func(r *recovery.Request) { r.Kind = "everything" }},
			{"event_types", func(r *recovery.Request) { r.Types = []string{"conversation.started"} }},
			{"actor", func(r *recovery.Request) { r.Actor = " " }},
			{"key", func(r *recovery.Request) { r.Key = "\x00" }},
			{"reason", func(r *recovery.Request) { r.Reason = "\x00" }},
		} {
			request := b.request
			c.change(&request)
			_, err := b.service.Start(t.Context(), request)
			var invalid *recovery.InvalidError
			require.ErrorAs(t, err, &invalid, c.field)
			require.Equal(t, c.field, invalid.Field)
		}
	})
}

// The history lags, and both recoveries see the same failures; each delivery is sent again once.
func TestASecondRecoveryWithinTheLagSkipsWhatTheFirstSent(t *testing.T) {
	t.Parallel()
	b := setup(t, 3)
	b.run(b.service)
	first, err := b.service.Start(t.Context(), b.request)
	require.NoError(t, err)
	require.Equal(t, 3, b.await(first.ID, ended).Replayed)
	b.exec(`DELETE FROM webhooks.pending`) // they are over, and the history has heard of nothing
	b.request.Key = "another"
	second, err := b.service.Start(t.Context(), b.request)
	require.NoError(t, err)
	second = b.await(second.ID, ended)
	require.Equal(t, [2]int{0, 3}, [2]int{second.Replayed, second.Skipped})
	require.Zero(t, b.count(`SELECT count(*) FROM webhooks.pending`))
}

func TestCancelEndsItWhereItStands(t *testing.T) {
	t.Parallel()
	b := setup(t, 40)
	r, err := b.service.Start(t.Context(), b.request)
	require.NoError(t, err)
	b.run(b.service)
	b.await(r.ID, func(r recovery.Recovery) bool { return r.Replayed > 0 })
	cancelled, err := b.service.Cancel(t.Context(), b.company, r.ID, "bob")
	require.NoError(t, err)
	require.Equal(t, recovery.Cancelled, cancelled.State)
	require.Equal(t, "bob", cancelled.EndedBy)
	require.Less(t, cancelled.Replayed, 40)
	again, err := b.service.Cancel(t.Context(), b.company, r.ID, "carol")
	require.NoError(t, err)
	require.Equal(t, cancelled, again)
	require.Equal(t, cancelled.Replayed, b.count(`SELECT count(*) FROM webhooks.pending`))
}

func TestRecoveriesAreTheCompanysAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, 3)
	r, err := b.service.Start(t.Context(), b.request)
	require.NoError(t, err)
	stranger := b.request
	stranger.CompanyID = uuid.New()
	var missing *recovery.NotFoundError
	_, err = b.service.Count(t.Context(), stranger)
	require.ErrorAs(t, err, &missing)
	_, err = b.service.Start(t.Context(), stranger)
	require.ErrorAs(t, err, &missing)
	_, err = b.service.Get(t.Context(), stranger.CompanyID, r.ID)
	require.ErrorAs(t, err, &missing)
	_, err = b.service.Cancel(t.Context(), stranger.CompanyID, r.ID, "mallory")
	require.ErrorAs(t, err, &missing)
	list, err := b.service.List(t.Context(), stranger.CompanyID, b.endpoint, 10)
	require.NoError(t, err)
	require.Empty(t, list)
	list, err = b.service.List(t.Context(), b.company, b.endpoint, 10)
	require.NoError(t, err)
	require.Equal(t, []recovery.Recovery{r}, list)
	// The operator reaches it without naming the company.
	_, err = b.service.Get(t.Context(), uuid.Nil, r.ID)
	require.NoError(t, err)
}
