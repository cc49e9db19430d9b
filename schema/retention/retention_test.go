package retention_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/schema/retention"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	keep = 30 * 24 * time.Hour

	insertOutbox = `INSERT INTO webhooks.outbox (recorded_at, event_id, event_type, company_id, data)
SELECT now() - $1 * interval '1 day', $2, 'a', gen_random_uuid(), '{}'`
	insertFact = `INSERT INTO webhooks.journal (recorded_at, fact, data) SELECT now() - $1 * interval '1 day', 'x', '{}'`
	insertTry  = `INSERT INTO webhooks.attempts (delivery_id, attempt, started_at, endpoint_id, company_id, event_id, event_type, generation, trigger,
  outcome, reason, detail, config_version, url, request_signature, request_bytes, response_body, response_truncated, remote_addr,
  dns_us, connect_us, tls_us, first_byte_us, total_us)
SELECT 1, 1, now() - $1 * interval '1 day', $2, $2, $2, 'a', 1, 'automatic', 'succeeded', 'ok', '', 1, '', '', 0, '', false, '', 0, 0, 0, 0, 0`
	//nolint:dupword // numbers
	insertHistory = `WITH i AS (
  INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM webhooks.outbox WHERE event_id = $1 RETURNING *
), e AS (
  INSERT INTO webhooks.events (event_id, company_id, event_type, created_at, position, fanned_out_at, decisions)
  SELECT event_id, event_id, 'a', recorded_at, position, recorded_at, '[]' FROM i
), r AS (
  INSERT INTO webhooks.requested_deliveries SELECT event_id, event_id, 1 FROM i
), h AS (
  INSERT INTO webhooks.endpoint_slots
  SELECT event_id, recorded_at, 'a', 'ok', 200, event_id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5 FROM i
), q AS (
  INSERT INTO webhooks.quarantine SELECT 'outbox', 'fan-out', transaction_id, position, 'test', '{}', recorded_at FROM i
)
INSERT INTO webhooks.deliveries (delivery_id, endpoint_id, event_id, company_id, event_type, state, trigger, created_at)
SELECT nextval('webhooks.delivery_id'), event_id, event_id, event_id, 'a', 'delivered', 'automatic', recorded_at FROM i`
	insertPending = `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id)
SELECT endpoint_id, delivery_id, event_id FROM webhooks.deliveries WHERE event_id = $1`
	readAll = `INSERT INTO webhooks.cursors (topic, consumer_group, from_snapshot, system_identifier)
SELECT t, 'reader', pg_current_snapshot(), s.system_identifier FROM unnest(ARRAY['outbox', 'journal']) t, pg_control_system() s
ON CONFLICT (topic, consumer_group) DO UPDATE SET from_snapshot = excluded.from_snapshot`
)

type testBundle struct {
	*schematest.DB

	t *testing.T
}

func setup(t *testing.T) testBundle {
	t.Helper()
	return testBundle{schematest.New(t), t}
}

func (b testBundle) exec(statement string, args ...any) {
	b.t.Helper()
	_, err := b.Owner.ExecContext(b.t.Context(), statement, args...)
	require.NoError(b.t, err, statement)
}

func (b testBundle) count(query string, args ...any) (n int) {
	b.t.Helper()
	require.NoError(b.t, b.Owner.QueryRowContext(b.t.Context(), query, args...).Scan(&n))
	return n
}

// day makes a whole day, that many days ago, of an event that was delivered; the day gets its partitions.
func (b testBundle) day(ago int) (event uuid.UUID) {
	b.t.Helper()
	event = uuid.New()
	b.exec(insertOutbox, ago, event)
	b.exec(insertFact, ago)
	b.exec(insertTry, ago, event)
	b.exec(insertHistory, event)
	_, err := b.ExecContext(b.t.Context(), `SELECT webhooks.ensure_partitions()`) // as a relay
	require.NoError(b.t, err)
	return event
}

func (b testBundle) prune() retention.Report {
	b.t.Helper()
	report, err := retention.Prune(b.t.Context(), b.DB.DB, keep)
	require.NoError(b.t, err)
	return report
}

// outcomes are the old days by log and age, with what keeps each, or "dropped".
func outcomes(report retention.Report) map[string]string {
	all := map[string]string{}
	for _, p := range report.Dropped {
		all[p.Log+" "+p.Day] = "dropped"
	}
	for _, p := range report.Kept {
		all[p.Log+" "+p.Day] = p.KeptFor
	}
	return all
}

func name(log string, ago int) string {
	return log + " " + time.Now().UTC().AddDate(0, 0, -ago).Format(time.DateOnly)
}

func (b testBundle) left(event uuid.UUID) map[string]int {
	b.t.Helper()
	rows := map[string]int{}
	for table, column := range map[string]string{
		"outbox": "event_id", "attempts": "event_id", "event_ids": "event_id", "events": "event_id", "deliveries": "event_id",
		"requested_deliveries": "event_id",
		"endpoint_slots":       "endpoint_id",
	} {
		if n := b.count(fmt.Sprintf(`SELECT count(*) FROM webhooks.%s WHERE %s = $1`, table, column), event); n > 0 {
			rows[table] = n
		}
	}
	return rows
}

func TestOldDaysGoWithAllThatWentWithThem(t *testing.T) {
	t.Parallel()

	b := setup(t)
	old, young := b.day(40), b.day(20)
	b.exec(readAll)
	want := map[string]string{name("outbox", 40): "dropped", name("journal", 40): "dropped", name("attempts", 40): "dropped"}
	plan, err := retention.Plan(t.Context(), b.DB.DB, keep)
	require.NoError(t, err)
	require.Equal(t, want, outcomes(plan), "a dry run foretells it")
	require.Len(t, b.left(old), 7, "and does nothing")

	report := b.prune()
	require.Equal(t, want, outcomes(report))
	require.EqualValues(t, 6, report.Rows)
	require.Empty(t, b.left(old))
	require.Len(t, b.left(young), 7)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.quarantine`))
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.journal`))
	require.Zero(t, b.prune().Rows, "again changes nothing")
}

// TestWhatPersonsDidHasAnEnd: recoveries and rebuilds go with the journal that they read, and the trail of access after 400
// days.
func TestWhatPersonsDidHasAnEnd(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.exec(`INSERT INTO webhooks.access_trail (happened_at, action, subject_id, actor, detail)
SELECT now() - n * interval '1 day', 'session.started', gen_random_uuid(), 'portal:ada', '{}' FROM unnest(ARRAY[500, 401, 399, 0]) n`)
	b.exec(`INSERT INTO webhooks.endpoints (company_id, url, state_actor) VALUES (gen_random_uuid(), 'https://example.com/', 'x')`)
	b.exec(`INSERT INTO webhooks.recoveries (company_id, endpoint_id, request_key, since, until, actor, reason, total, after_time, state, ended_at)
SELECT company_id, endpoint_id, n::text, now() - interval '1 hour', now(), 'ada', '', 1, now(), CASE WHEN n > 0 THEN 'done' ELSE 'running' END,
       CASE WHEN n > 0 THEN now() - n * interval '1 day' END FROM webhooks.endpoints, unnest(ARRAY[50, 20, 0]) n`)
	b.exec(`INSERT INTO webhooks.rebuilds (verify_only, actor, state, report, ended_at)
SELECT true, 'olga', CASE WHEN n > 0 THEN 'done' ELSE 'running' END, '{}', CASE WHEN n > 0 THEN now() - n * interval '1 day' END
  FROM unnest(ARRAY[50, 20, 0]) n`)
	b.day(40)
	b.exec(readAll)
	require.EqualValues(t, 6+2+1+1, b.prune().Rows, "the day's, two entries, a recovery and a rebuild")
	require.Equal(t, 2, b.count(`SELECT count(*) FROM webhooks.access_trail`))
	require.Equal(t, 2, b.count(`SELECT count(*) FROM webhooks.recoveries`))
	require.Equal(t, 2, b.count(`SELECT count(*) FROM webhooks.rebuilds`))

	_, err := b.Owner.ExecContext(t.Context(), `DELETE FROM webhooks.access_trail WHERE happened_at < now() - interval '300 days'`)
	require.ErrorContains(t, err, "append-only", "what is younger stays, even for the owner")
}

// TestChangesOfEndpointsHaveAnEnd: 400 days, but for those that an answer may still need.
func TestChangesOfEndpointsHaveAnEnd(t *testing.T) {
	t.Parallel()

	b := setup(t)
	cases := map[string]struct {
		changes string // the days ago of each, the oldest first
		event   int    // of the company, that was fanned out so many days ago and is kept
		want    string
	}{
		"LastOne":         {"created 900", 0, "created 900"},
		"Replaced":        {"created 900, updated 800, updated 402, updated 399", 0, "updated 402, updated 399"},
		"DisabledStill":   {"created 900, disabled 800, updated 700", 0, "disabled 800, updated 700"},
		"DisabledAgain":   {"created 900, disabled 800, enabled 700, disabled 600", 0, "disabled 600"},
		"EnabledSince":    {"created 900, disabled 800, enabled 100", 0, "disabled 800, enabled 100"},
		"Deleted":         {"created 900, updated 800, deleted 700", 0, "updated 800, deleted 700"},
		"EventIsKept":     {"created 900, updated 800, updated 601, updated 500", 601, "updated 800, updated 601, updated 500"},
		"EventIsKeptLong": {"created 900, updated 800, updated 500", 850, "created 900, updated 800, updated 500"},
	}
	for name, c := range cases {
		endpoint, company := uuid.New(), uuid.New()
		for i, change := range strings.Split(c.changes, ", ") {
			kind, ago, _ := strings.Cut(change, " ")
			b.exec(`INSERT INTO webhooks.endpoint_changes (position, recorded_at, endpoint_id, company_id, fact, version, actor, reason)
VALUES ($1::int, now() - $2::int * interval '1 day', $3, $4, 'endpoint.' || $5::text, $1::int, $6, 'by_request')`, i, ago, endpoint, company, kind, name)
		}
		if c.event > 0 {
			b.exec(`WITH i AS (
  INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position) SELECT $1, now(), '1', 1 RETURNING event_id
)
INSERT INTO webhooks.events (event_id, company_id, event_type, created_at, position, fanned_out_at, decisions)
SELECT event_id, $2, 'a', now(), 1, now() - $3 * interval '1 day', '[]' FROM i`, uuid.New(), company, c.event)
		}
	}
	b.exec(`INSERT INTO webhooks.replays SELECT gen_random_uuid(), 4711, 2`)
	b.day(40)
	b.exec(readAll)
	require.EqualValues(t, 6+1+9, b.prune().Rows, "the day's, the replay of a delivery that is no more, and the changes")
	for name, c := range cases {
		var left string
		require.NoError(t, b.Owner.QueryRowContext(t.Context(), `SELECT string_agg(substr(fact, 10) || ' ' || (now()::date - recorded_at::date), ', ' ORDER BY position)
  FROM webhooks.endpoint_changes WHERE actor = $1`, name).Scan(&left))
		require.Equal(t, c.want, left, name)
	}
	require.Zero(t, b.count(`SELECT count(*) FROM webhooks.replays`))
}

func TestDaysStayForWhatNeedsThem(t *testing.T) {
	t.Parallel()

	for need, c := range map[string]struct {
		make func(b testBundle, event uuid.UUID)
		want map[string]string
	}{
		"NobodyHasReadTheLogs": {
			func(b testBundle, _ uuid.UUID) { b.exec(`DELETE FROM webhooks.cursors`) },
			map[string]string{"outbox": "nobody has read it", "journal": "nobody has read it", "attempts": "the journal of that day is kept"},
		},
		"AReaderIsBehind": {
			func(b testBundle, _ uuid.UUID) {
				b.exec(`UPDATE webhooks.cursors SET from_snapshot = '1:1:'`)
			},
			map[string]string{
				"outbox": "consumer group reader has not read it", "journal": "consumer group reader has not read it",
				"attempts": "the journal of that day is kept",
			},
		},
		"AReaderStandsInTheMiddle": {
			func(b testBundle, _ uuid.UUID) {
				b.exec(`UPDATE webhooks.cursors SET from_snapshot = '1:1:', to_snapshot = from_snapshot, after_xid = '3', after_position = 0
				         WHERE topic = 'outbox'`)
			},
			map[string]string{"outbox": "consumer group reader has not read it", "journal": "dropped", "attempts": "dropped"},
		},
		"AReaderStandsBehindItsLastRow": {
			func(b testBundle, _ uuid.UUID) {
				b.exec(`UPDATE webhooks.cursors SET from_snapshot = '1:1:', to_snapshot = from_snapshot,
				          (after_xid, after_position) = (SELECT transaction_id, position FROM webhooks.outbox ORDER BY 1 DESC, 2 DESC LIMIT 1)
				         WHERE topic = 'outbox'`)
			},
			map[string]string{"outbox": "dropped", "journal": "dropped", "attempts": "dropped"},
		},
		"TheLogsWereRestoredFromAnotherCluster": {
			func(b testBundle, _ uuid.UUID) { b.exec(`UPDATE webhooks.cursors SET system_identifier = 1`) },
			map[string]string{
				"outbox": "consumer group reader has not read it", "journal": "consumer group reader has not read it",
				"attempts": "the journal of that day is kept",
			},
		},
		"ADeliveryIsPending": {
			func(b testBundle, event uuid.UUID) { b.exec(insertPending, event) },
			map[string]string{"outbox": "deliveries of its events are still to be sent", "journal": "dropped", "attempts": "dropped"},
		},
	} {
		t.Run(need, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			event := b.day(40)
			b.exec(readAll)
			c.make(b, event)
			want := map[string]string{}
			for log, outcome := range c.want {
				want[name(log, 40)] = outcome
			}
			plan, err := retention.Plan(t.Context(), b.DB.DB, keep)
			require.NoError(t, err)
			require.Equal(t, want, outcomes(plan))
			require.Equal(t, want, outcomes(b.prune()))
			if c.want["outbox"] == "dropped" {
				return
			}
			left := b.left(event)
			require.Equal(t, 1, left["outbox"])
			require.Equal(t, 1, left["event_ids"], "it is still known, or it would be sent again")
			require.Equal(t, 1, left["events"], "and so is what was decided about it")
			require.Equal(t, 1, left["deliveries"])
		})
	}
}

func TestPendingOverMakesTheDayGo(t *testing.T) {
	t.Parallel()

	b := setup(t)
	event := b.day(40)
	b.exec(readAll)
	b.exec(insertPending, event)
	b.prune()
	require.Equal(t, map[string]int{"outbox": 1, "event_ids": 1, "events": 1, "requested_deliveries": 1, "deliveries": 1}, b.left(event))
	b.exec(`DELETE FROM webhooks.pending`)
	require.Equal(t, map[string]string{name("outbox", 40): "dropped"}, outcomes(b.prune()))
	require.Empty(t, b.left(event))
}

func TestJournalGoesInItsOrder(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.day(41)
	b.exec(readAll)
	b.exec(`UPDATE webhooks.cursors SET from_snapshot = '1:1:' WHERE topic = 'journal'`)
	b.day(40)
	b.exec(`DELETE FROM webhooks.journal WHERE recorded_at > now() - interval '40 days 12 hours'`) // an empty day needs nobody
	report := outcomes(b.prune())
	require.Equal(t, "consumer group reader has not read it", report[name("journal", 41)])
	require.Equal(t, "an earlier day of the journal is kept", report[name("journal", 40)])
}

func TestSweepThatBrokeOffIsFinished(t *testing.T) {
	t.Parallel()

	b := setup(t)
	old := b.day(40)
	b.exec(readAll)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := retention.Prune(ctx, b.DB.DB, keep)
	require.ErrorIs(t, err, context.Canceled)
	for _, log := range []string{"journal", "outbox", "attempts"} { // what a process does that is killed before it sweeps
		b.exec(`SELECT webhooks.prune_partition($1, (now() AT TIME ZONE 'UTC')::date - 40, interval '30 days')`, log)
	}
	require.Equal(t, 1, b.left(old)["event_ids"])
	report := b.prune()
	require.Empty(t, report.Dropped)
	require.EqualValues(t, 6, report.Rows)
	require.Empty(t, b.left(old))
}

func TestOneProcessPrunes(t *testing.T) {
	t.Parallel()

	b := setup(t)
	tx, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(hashtextextended('webhooks.prune', 0))`)
	require.NoError(t, err)
	_, err = retention.Prune(t.Context(), b.DB.DB, keep)
	require.ErrorIs(t, err, retention.ErrBusy)
	require.NoError(t, tx.Rollback())
	b.prune()
	b.prune() // the lock was given back
}

func TestDayIsNotDroppedUnderARetry(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.day(40)
	b.exec(readAll)
	tx, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock_shared(hashtextextended('webhooks.retention', 0))`)
	require.NoError(t, err)
	require.Equal(t, "a delivery is being retried at this moment", outcomes(b.prune())[name("outbox", 40)])
	require.NoError(t, tx.Rollback())
	require.Equal(t, "dropped", outcomes(b.prune())[name("outbox", 40)])
}

// TestProducersWaitForADropOnlyBriefly is F33: a drop that has to wait lets those pass who wait behind it, and tries again.
func TestProducersWaitForADropOnlyBriefly(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.day(40)
	b.exec(readAll)
	open, err := b.App.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer open.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	_, err = open.ExecContext(t.Context(), `SELECT webhooks.publish('a', gen_random_uuid(), '{}')`)
	require.NoError(t, err)

	pruned := make(chan retention.Report, 1)
	go func() {
		report, err := retention.Prune(context.WithoutCancel(t.Context()), b.DB.DB, keep)
		if err != nil {
			t.Error(err)
		}
		pruned <- report
	}()
	require.Eventually(t, func() bool {
		return b.count(`SELECT count(*) FROM pg_locks WHERE relation = 'webhooks.outbox'::regclass AND NOT granted`) > 0
	}, 20*time.Second, time.Millisecond, "nobody waits")
	// The transaction that the drop waits for is still open: who waited for it, too, would wait for ever.
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = b.App.ExecContext(soon, `SELECT webhooks.publish('a', gen_random_uuid(), '{}')`)
	require.NoError(t, err)
	require.NoError(t, open.Commit())
	report := <-pruned
	if report.InUse() { // so long did the machine keep the commit from its tries
		report = b.prune()
	}
	require.Equal(t, "dropped", outcomes(report)[name("outbox", 40)])
}

func TestTransactionThatStaysOpenIsReported(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.day(40)
	b.exec(readAll)
	open, err := b.App.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer open.Rollback() //nolint:errcheck // it only holds a lock
	_, err = open.ExecContext(t.Context(), `SELECT webhooks.publish('a', gen_random_uuid(), '{}')`)
	require.NoError(t, err)
	report := b.prune()
	require.True(t, report.InUse())
	require.Contains(t, outcomes(report)[name("outbox", 40)], "it is in use")
	require.Equal(t, "dropped", outcomes(report)[name("journal", 40)], "the others go on")
}

// TestMissingPartitionFailsNoInsert is F33's other half.
func TestMissingPartitionFailsNoInsert(t *testing.T) {
	t.Parallel()

	b := setup(t)
	today := time.Now().UTC().Format("20060102")
	b.exec(`DROP TABLE IF EXISTS webhooks.outbox_` + today)
	_, err := b.App.ExecContext(t.Context(), `SELECT webhooks.publish('a', gen_random_uuid(), '{}')`)
	require.NoError(t, err)
	strays, err := retention.Strays(t.Context(), b.DB.DB)
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"outbox": 1, "journal": 0, "attempts": 0}, strays)

	_, err = b.ExecContext(t.Context(), `SELECT webhooks.ensure_partitions()`)
	require.NoError(t, err)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.outbox_default`), "as long as the day lasts they stay where they are")

	b.exec(`UPDATE webhooks.outbox SET recorded_at = recorded_at - interval '1 day'`) // it is tomorrow
	b.exec(`CREATE TABLE public.before AS SELECT o::text AS row FROM webhooks.outbox o`)
	_, err = b.ExecContext(t.Context(), `SELECT webhooks.ensure_partitions()`)
	require.NoError(t, err)
	require.Zero(t, b.count(`SELECT count(*) FROM webhooks.outbox_default`), "then they move to their day")
	require.Zero(t, b.count(`SELECT count(*) FROM (
		SELECT row FROM public.before EXCEPT ALL SELECT o::text FROM webhooks.outbox o) d`),
		"as they were, so that no reader sees them twice or misses them")
}

func TestListTellsTheDays(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.day(40)
	days, err := retention.List(t.Context(), b.DB.DB, keep)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(days), 3*5, "an old day, today and three to come, of three logs")
	old := 0
	for _, d := range days {
		if d.Old {
			old++
		}
		require.Equal(t, d.Old, d.KeptFor != "")
		require.Positive(t, d.Bytes)
		require.Equal(t, d.Name, d.Log+"_"+d.Day[:4]+d.Day[5:7]+d.Day[8:])
	}
	require.Equal(t, 3, old)
	_, err = retention.Prune(t.Context(), b.DB.DB, time.Hour)
	require.ErrorContains(t, err, "at least a day")
}
