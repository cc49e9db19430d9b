package relay_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/retry"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/schema"
	"github.com/chattosurvey/surveyhooks/schema/cluster"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

const (
	// relayVariable makes this test binary a relay on the database it names, until its standard input ends.
	relayVariable = "SURVEYHOOKS_TEST_RELAY"
	// keysVariable is that relay's keyring.
	keysVariable = "SURVEYHOOKS_TEST_RELAY_KEYS"
	// chaosVariable is how long the chaos lasts, such as 10m; without it there is one round.
	chaosVariable = "SURVEYHOOKS_CHAOS"
	// seedVariable repeats the decisions (not the timing) of a run.
	seedVariable = "SURVEYHOOKS_CHAOS_SEED"

	chaosLease  = 3 * time.Second
	chaosRelays = 3
	// recovery is what I8 allows: everything flows again a minute after the last fault.
	recovery = time.Minute
)

// relayProcess is what TestMain calls first: it never returns in a process that is to be a relay. The end of standard
// input stops it in order, and since the pipe ends with its parent no relay outlives the tests.
func relayProcess() {
	dsn := os.Getenv(relayVariable)
	if dsn == "" {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	keys, err := seal.ParseRing(os.Getenv(keysVariable))
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay not started:", err)
		os.Exit(1)
	}
	r, err := relay.New(relay.Config{
		DSN: dsn, Keys: keys, Lease: chaosLease, Poll: 100 * time.Millisecond, Drain: 5 * time.Second,
		Egress:  egress.Config{Policy: egress.Policy{Insecure: true}, Timeout: 2 * time.Second},
		Retry:   retry.Policy{First: 50 * time.Millisecond, Factor: 1.5, Retries: 4},
		Breaker: breaker.Config{Open: 200 * time.Millisecond},
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err == nil {
		err = r.Run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "relay ended:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// process is a relay in a process of its own.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	log   string
	ended chan struct{}
	err   error // of Wait, once ended is closed
}

// chaos is one run.
type chaos struct {
	t       *testing.T
	server  *cluster.Server
	db      *sql.DB
	dsn     string   // of the relays
	env     []string // of the relays, beside the test's own
	company uuid.UUID
	key     seal.Key
	rng     *rand.Rand // the main goroutine's
	folder  string

	relays    []*process
	logs      []string
	thaws     sync.WaitGroup
	receivers map[uuid.UUID]*relaytest.Receiver
	undone    atomic.Int64
}

func newChaos(t *testing.T, seed uint64) *chaos {
	t.Helper()
	dir, err := os.MkdirTemp("", "chaos") //nolint:usetesting // the user that stands in for root cannot reach t.TempDir
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	// With fsync: what an immediate stop takes away must not have been committed.
	server, err := cluster.Start(t.Context(), cluster.Config{Dir: filepath.Join(dir, "pg"), Logf: t.Logf})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	db, err := sql.Open("postgres", server.DSN(""))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, schema.Migrate(t.Context(), db))
	_, err = db.ExecContext(t.Context(), `CREATE TABLE public.truth (event_id uuid PRIMARY KEY)`)
	require.NoError(t, err)
	c := &chaos{
		t: t, server: server, db: db, dsn: server.DSN(""), company: uuid.New(), key: relaytest.Key(t, "chaos"), rng: rand.New(rand.NewPCG(seed, 0)),
		folder: t.TempDir(), receivers: make(map[uuid.UUID]*relaytest.Receiver),
	}
	t.Cleanup(c.killAll)
	return c
}

// receive makes the endpoints: three that are well, one that fails two times of five, and a slow one.
func (c *chaos) receive(seed uint64) {
	c.t.Helper()
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 1))
	failing := func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if rng.IntN(5) < 2 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
	slow := func(_ http.ResponseWriter, r *http.Request) { wait(r.Context(), 100*time.Millisecond) }
	c.receiveAt(nil, nil, nil, failing, slow)
}

// receiveAt makes an endpoint for each way to answer; nil is 200.
func (c *chaos) receiveAt(answers ...http.HandlerFunc) {
	c.t.Helper()
	store, err := endpoint.New(endpoint.Options{DB: c.db, Policy: egress.Policy{Insecure: true}, Keys: relaytest.Ring(c.t, c.key)})
	require.NoError(c.t, err)
	for _, answer := range answers {
		receiver := relaytest.NewReceiver(c.t)
		receiver.Answer(answer)
		e, _, err := store.Create(c.t.Context(), endpoint.Create{CompanyID: c.company, URL: receiver.URL, Actor: "test"})
		require.NoError(c.t, err)
		c.receivers[e.ID] = receiver
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// launch starts a relay.
func (c *chaos) launch() *process {
	c.t.Helper()
	p := &process{log: filepath.Join(c.folder, fmt.Sprintf("relay-%d.log", len(c.logs))), ended: make(chan struct{})}
	c.logs = append(c.logs, p.log)
	file, err := os.Create(p.log)
	require.NoError(c.t, err)
	defer file.Close() // the process has its own
	self, err := os.Executable()
	require.NoError(c.t, err)
	p.cmd = exec.Command(self) // ended by hand
	p.cmd.Env = append(append(os.Environ(), c.env...), relayVariable+"="+c.dsn, keysVariable+"="+c.key.Reveal())
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.stdin, err = p.cmd.StdinPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	return p
}

func (c *chaos) killAll() {
	for _, p := range c.relays {
		p.kill()
	}
	c.thaws.Wait()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is as good
	<-p.ended
}

// stop asks it to end in order, and reports whether it did.
func (p *process) stop() bool {
	_ = p.stdin.Close()
	select {
	case <-p.ended:
		return p.err == nil
	case <-time.After(within):
		p.kill()
		return false
	}
}

// freeze lets it sleep for longer than its lease, so that it wakes as somebody whom the others have declared dead.
func (c *chaos) freeze(p *process) {
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	c.thaws.Go(func() {
		select {
		case <-time.After(chaosLease + time.Second):
		case <-p.ended:
		}
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
	})
}

// round strikes with every fault, in random order and at random times that add up to about duration.
func (c *chaos) round(duration time.Duration) {
	strikes := map[string]func(i int){
		"kill":   func(i int) { c.relays[i].kill(); c.relays[i] = c.launch() },
		"stop":   func(i int) { c.relays[i].stop(); c.relays[i] = c.launch() },
		"freeze": func(i int) { c.freeze(c.relays[i]) },
		// Every connection of the relays, most of them in a transaction or in its commit.
		"cut": func(int) {
			c.await(within, 1, `SELECT 1 FROM (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE application_name LIKE 'surveyhooks%') cut`) // again and again, when a restart has cut our own
		},
		"restart": func(int) { require.NoError(c.t, c.server.Restart(c.t.Context())) },
	}
	plan := []string{"kill", "kill", "kill", "freeze", "stop", "cut", "kill", "restart", "cut"}
	c.rng.Shuffle(len(plan), func(i, j int) { plan[i], plan[j] = plan[j], plan[i] })
	for _, name := range plan {
		wait(c.t.Context(), time.Duration(c.rng.Float64()*2*float64(duration)/float64(len(plan))))
		for _, p := range c.relays {
			select {
			case <-p.ended:
				require.Fail(c.t, "a relay ended by itself", "%v\n%s", p.err, tail(p.log))
			default:
			}
		}
		i := c.rng.IntN(len(c.relays))
		c.t.Logf("%s (relay %d)", name, i)
		strikes[name](i)
	}
}

// produce publishes until ctx ends: transactions of random length, a fifth of which roll back, each with the business
// rows that say afterwards what was committed.
func (c *chaos) produce(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		length := time.Duration(rng.IntN(60)) * time.Millisecond
		if rng.IntN(20) == 0 {
			length = 700 * time.Millisecond
		}
		// An error is PostgreSQL's restart. Whether its commit took place only the business table knows.
		_ = c.transaction(context.WithoutCancel(ctx), 1+rng.IntN(4), length, rng.IntN(5) == 0)
	}
}

func (c *chaos) transaction(ctx context.Context, n int, length time.Duration, undo bool) error {
	wait(ctx, time.Millisecond) // while there is no PostgreSQL
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = outbox.NewSample(outbox.ConversationStartedType, c.company)
	}
	ids, err := outbox.Publish(ctx, tx, events...)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO public.truth SELECT unnest($1::uuid[])`, pq.Array(ids)); err != nil {
		return err
	}
	wait(ctx, length)
	if undo {
		c.undone.Add(int64(n))
		return tx.Rollback()
	}
	return tx.Commit()
}

// await polls until query gives want, for at most limit.
func (c *chaos) await(limit time.Duration, want int, query string) {
	c.t.Helper()
	got := -1
	ctx, cancel := context.WithTimeout(c.t.Context(), limit)
	defer cancel()
	for c.db.QueryRowContext(ctx, query).Scan(&got) != nil || got != want {
		if wait(ctx, 20*time.Millisecond); ctx.Err() != nil {
			for _, p := range c.relays {
				c.t.Logf("%s:\n%s", p.log, tail(p.log))
			}
			require.Fail(c.t, "not in time", "%d, not %d, after %s: %s", got, want, limit, query)
		}
	}
}

func tail(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}

// TestChaosKillAndRestart kills, freezes and stops relays and restarts PostgreSQL under load, lets everything come to
// rest, and holds the journal and the receivers against the business table.
func TestChaosKillAndRestart(t *testing.T) {
	t.Parallel()
	seed, duration := rand.Uint64(), time.Duration(0)
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "%s: want an unsigned number", seedVariable)
	}
	if text := os.Getenv(chaosVariable); text != "" {
		var err error
		duration, err = time.ParseDuration(text)
		require.NoError(t, err, "%s: want a duration such as 10m", chaosVariable)
	}
	t.Logf("%s=%d", seedVariable, seed)
	c := newChaos(t, seed)
	c.receive(seed)
	for range chaosRelays {
		c.relays = append(c.relays, c.launch())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var producers sync.WaitGroup
	for i := range uint64(4) {
		producers.Go(func() { c.produce(ctx, rand.New(rand.NewPCG(seed, 2+i))) })
	}
	t.Cleanup(func() { cancel(); producers.Wait() })
	for began := time.Now(); ; {
		c.round(10 * time.Second)
		if time.Since(began) >= duration {
			break
		}
	}
	cancel()
	producers.Wait()
	c.thaws.Wait()

	c.await(recovery, 0, `SELECT count(*) FROM public.truth WHERE event_id NOT IN (SELECT event_id FROM webhooks.event_ids)`)
	c.await(recovery, 0, `SELECT count(*) FROM webhooks.pending`)
	c.await(recovery, chaosRelays, `SELECT count(*) FROM webhooks.relays`)
	c.await(recovery, len(c.receivers), `SELECT count(holder) FROM webhooks.lanes`)
	c.await(recovery, 0, `SELECT count(*) FROM webhooks.intents`)
	for _, p := range c.relays {
		require.True(t, p.stop(), "ends in order: %s", tail(p.log))
	}
	c.await(time.Second, 0, `SELECT count(*) FROM webhooks.relays`)
	for _, name := range c.logs {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, alarm := range []string{"DATA RACE", "panic", "panicked", "duplicate key"} {
			require.Falsef(t, bytes.Contains(text, []byte(alarm)), "%q in %s", alarm, name)
		}
	}
	c.check()
}

// history is what the journal says of one delivery.
type history struct {
	endpoint, event uuid.UUID
	started         map[int]bool // attempts that attempts.started names
	told            map[int]bool // attempts that have a fact of their end
	facts           []string     // in the journal's order
	over            map[int]bool // generations that are over
	exhausted       bool
}

func (c *chaos) journal() map[int64]*history {
	c.t.Helper()
	rows, err := c.db.QueryContext(c.t.Context(), `SELECT fact, data FROM webhooks.journal ORDER BY transaction_id, position`)
	require.NoError(c.t, err)
	defer rows.Close()
	all := make(map[int64]*history)
	of := func(id int64) *history {
		if all[id] == nil {
			all[id] = &history{started: make(map[int]bool), told: make(map[int]bool), over: make(map[int]bool)}
		}
		return all[id]
	}
	for rows.Next() {
		var name string
		var data []byte
		require.NoError(c.t, rows.Scan(&name, &data))
		switch name {
		case string(fact.EventFannedOut):
			var f fact.FannedOut
			require.NoError(c.t, json.Unmarshal(data, &f))
			for _, d := range f.Decisions {
				require.Equal(c.t, fact.Chosen, d.Decision)
				h := of(*d.DeliveryID)
				require.Equal(c.t, uuid.Nil, h.endpoint, "delivery %d is made once", *d.DeliveryID)
				h.endpoint, h.event = d.EndpointID, f.EventID
			}
		case string(fact.AttemptsStarted):
			var f fact.Started
			require.NoError(c.t, json.Unmarshal(data, &f))
			for _, a := range f.Attempts {
				of(a.DeliveryID).started[a.Attempt] = true
			}
		case string(fact.AttemptSucceeded), string(fact.AttemptFailed), string(fact.AttemptInterrupted), string(fact.AttemptStale):
			var f fact.Attempt
			require.NoError(c.t, json.Unmarshal(data, &f))
			h := of(f.DeliveryID)
			h.told[f.Attempt] = true
			h.facts = append(h.facts, fmt.Sprintf("%s#%d", name, f.Attempt))
			if name := fact.Name(name); name == fact.AttemptSucceeded || name == fact.AttemptFailed {
				require.False(c.t, h.over[f.Generation], "I5: delivery %d: %v", f.DeliveryID, h.facts)
				h.over[f.Generation] = f.State == fact.Delivered || f.State == fact.Exhausted
			}
		case string(fact.DeliveryExhausted):
			var f fact.Delivery
			require.NoError(c.t, json.Unmarshal(data, &f))
			of(f.DeliveryID).exhausted = true
		}
	}
	require.NoError(c.t, rows.Err())
	return all
}

// check holds the invariants of DESIGN against the business table.
func (c *chaos) check() {
	c.t.Helper()
	var ids []string
	require.NoError(c.t, c.db.QueryRowContext(c.t.Context(), `SELECT array_agg(event_id) FROM public.truth`).Scan(pq.Array(&ids)))
	truth := make(map[string]bool, len(ids))
	for _, id := range ids {
		truth[id] = true
	}
	arrivals := make(map[string]int) // by endpoint and event
	requests, bodies := 0, make(map[string][]byte)
	for e, r := range c.receivers {
		for _, a := range r.Arrivals() {
			require.True(c.t, truth[a.ID()], "I2: %s was sent and never committed", a.ID())
			key := e.String() + a.ID()
			if first, ok := bodies[key]; ok {
				require.True(c.t, bytes.Equal(first, a.Body), "I3: event %s for endpoint %s\n%s\n%s", a.ID(), e, first, a.Body)
			}
			require.Contains(c.t, string(a.Body), `{"id":"`+a.ID()+`"`)
			bodies[key] = a.Body
			arrivals[key]++
			requests++
		}
	}
	exhausted, attempts, seen := 0, 0, make(map[string]bool)
	for id, h := range c.journal() {
		key := h.endpoint.String() + h.event.String()
		require.False(c.t, seen[key], "I1: event %s has two deliveries to endpoint %s", h.event, h.endpoint)
		seen[key] = true
		require.True(c.t, truth[h.event.String()], "I2: event %s was fanned out and never committed", h.event)
		require.True(c.t, h.over[1], "I1: delivery %d has an end: %v", id, h.facts)
		if h.exhausted {
			exhausted++
		} else {
			require.Positive(c.t, arrivals[key], "I1: delivery %d arrived: %v", id, h.facts)
		}
		require.GreaterOrEqual(c.t, len(h.started), arrivals[key], "I4: delivery %d: intents before bytes: %v", id, h.facts)
		require.Subset(c.t, keys(h.started), keys(h.told), "I4: delivery %d: %v", id, h.facts)
		require.Subset(c.t, keys(h.told), keys(h.started), "I4: delivery %d, every attempt has an outcome: %v", id, h.facts)
		attempts += len(h.facts)
	}
	require.Len(c.t, seen, len(truth)*len(c.receivers), "I1: one delivery for each event and endpoint")
	require.GreaterOrEqual(c.t, attempts, requests, "I4")
	c.t.Logf("%d events committed, %d rolled back, %d requests, %d attempts, %d exhausted, %d relays",
		len(truth), c.undone.Load(), requests, attempts, exhausted, len(c.logs))
}

func keys(m map[int]bool) []int {
	list := make([]int, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
