package projections_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
)

// questions are all that a Reader can be asked, as a page or the API asks them.
func (f filled) questions() map[string]func(context.Context, *projections.Reader) error {
	ofEndpoint := projections.Filter{CompanyID: f.company, EndpointID: f.endpoint}
	deliveries := func(change func(*projections.Filter)) func(context.Context, *projections.Reader) error {
		filter := ofEndpoint
		change(&filter)
		return func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Deliveries(ctx, filter)
			return err
		}
	}
	stats := func(name string) func(context.Context, *projections.Reader) error {
		return func(ctx context.Context, r *projections.Reader) error {
			w, err := projections.WindowOf(name)
			if err != nil {
				return err
			}
			_, err = r.EndpointStats(ctx, f.company, f.endpoint, w)
			return err
		}
	}
	middle := f.from.Add(15 * 24 * time.Hour)
	span := projections.Span{CompanyID: f.company, EndpointID: f.endpoint, Since: middle}
	ofWeek, types := span, []string{"conversation.started", "question_response.upserted"}
	ofWeek.Since, ofWeek.Until = f.from.Add(23*24*time.Hour), f.from.Add(30*24*time.Hour)
	event := uuid.MustParse(strings.Replace(endpointID(f.n/6*3), "-8000-", "-9000-", 1))
	return map[string]func(context.Context, *projections.Reader) error{
		"DeliveriesOfEndpoint":  deliveries(func(*projections.Filter) {}),
		"DeliveriesOfCompany":   deliveries(func(f *projections.Filter) { f.EndpointID = uuid.Nil }),
		"DeliveriesFailed":      deliveries(func(f *projections.Filter) { f.States = []string{"exhausted", "retrying"} }),
		"DeliveriesClass":       deliveries(func(f *projections.Filter) { f.StatusClass = "5xx" }),
		"DeliveriesNoneMatches": deliveries(func(f *projections.Filter) { f.StatusClass = "4xx" }),
		"DeliveriesPending":     deliveries(func(f *projections.Filter) { f.States = []string{"pending", "held"} }),
		"DeliveriesRareType":    deliveries(func(f *projections.Filter) { f.EventType = "test.webhook" }),
		"DeliveriesTrigger":     deliveries(func(f *projections.Filter) { f.Trigger = "manual" }),
		"DeliveriesOfAWeek": deliveries(func(f *projections.Filter) {
			f.From, f.Until = middle, middle.Add(7*24*time.Hour)
		}),
		"DeliveriesSearchEvent":    deliveries(func(f *projections.Filter) { f.Search = event.String() }),
		"DeliveriesSearchDelivery": deliveries(func(f *projections.Filter) { f.Search = "42" }),
		"DeliveriesOfOperator": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Deliveries(ctx, projections.Filter{})
			return err
		},
		"Delivery": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Delivery(ctx, f.company, int64(f.n/6*3))
			return err
		},
		"AttemptsOfEndpoint": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Attempts(ctx, ofEndpoint)
			return err
		},
		"AttemptsOfCompany": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Attempts(ctx, projections.Filter{CompanyID: f.company})
			return err
		},
		"EventsOfCompany": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Events(ctx, projections.Filter{CompanyID: f.company})
			return err
		},
		"Changes": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.EndpointChanges(ctx, projections.Filter{CompanyID: f.company})
			return err
		},
		"Overview": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Overview(ctx, projections.Filter{CompanyID: f.company})
			return err
		},
		"Stats1h": stats("1h"), "Stats24h": stats("24h"), "Stats7d": stats("7d"), "Stats30d": stats("30d"),
		"Upcoming": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Upcoming(ctx, f.company, f.endpoint, 50)
			return err
		},
		"CountFailed": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.CountFailed(ctx, span, 10001)
			return err
		},
		"Failed": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Failed(ctx, span, projections.Failed{}, 500)
			return err
		},
		"CountMissing": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.CountMissing(ctx, ofWeek, types, 10001)
			return err
		},
		"Missing": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Missing(ctx, ofWeek, types, projections.Missing{}, 50)
			return err
		},
		"SinceNothing": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.DeliveriesSince(ctx, ofEndpoint, 256)
			return err
		},
		"SinceHalfASecond": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.DeliveriesSince(ctx, ofEndpoint, 246)
			return err
		},
		"Decision": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Decision(ctx, f.company, event, f.endpoint)
			return err
		},
		"Request": func(ctx context.Context, r *projections.Reader) error {
			_, err := r.Request(ctx, f.company, int64(f.n/6*3), 1)
			return err
		},
	}
}

// TestEveryQuestionIsAnIndexRange looks at the plans that PostgreSQL really ran: none reads a table that grows from end
// to end, and none touches more rows than an answer may take, whatever it asks.
func TestEveryQuestionIsAnIndexRange(t *testing.T) {
	t.Parallel()
	f := fill(t, 40000)
	for name, ask := range f.questions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, f.faultsOf(t, ask))
		})
	}
}

// TestAPageOfWhatIsMissingEndsWithItsLimit: a recovery asks for page after page, and must not read the whole span for each.
func TestAPageOfWhatIsMissingEndsWithItsLimit(t *testing.T) {
	t.Parallel()
	f := fill(t, 40000)
	span := projections.Span{CompanyID: f.company, EndpointID: f.endpoint, Since: f.from.Add(23 * 24 * time.Hour), Until: time.Now()}
	var found []projections.Missing
	plans := f.plansOf(t, func(ctx context.Context, r *projections.Reader) (err error) {
		found, err = r.Missing(ctx, span, []string{"conversation.started", "question_response.upserted"}, projections.Missing{}, 50)
		return err
	})
	require.Len(t, found, 50)
	read := 0.0
	for _, plan := range plans {
		read += plan.read("events")
	}
	require.Positive(t, read)
	require.Less(t, read, 1500.0, "of 3 400 events one in 14 is missing")
}

// faultsOf asks, and tells what is wrong with the plans that PostgreSQL ran for it.
func (f filled) faultsOf(t *testing.T, ask func(context.Context, *projections.Reader) error) (faults []string) {
	t.Helper()
	for _, plan := range f.plansOf(t, ask) {
		faults = append(faults, plan.faults()...)
	}
	return faults
}

func (f filled) plansOf(t *testing.T, ask func(context.Context, *projections.Reader) error) []node {
	t.Helper()
	witness := &witness{t: t}
	config, err := pq.NewConfig(f.DSN)
	require.NoError(t, err)
	connector, err := pq.NewConnectorConfig(config)
	require.NoError(t, err)
	db := sql.OpenDB(explaining{connector, witness})
	defer db.Close()
	require.NoError(t, ask(t.Context(), projections.NewReader(db)))
	require.NotEmpty(t, witness.plans)
	return witness.plans
}

func TestPlanFaultsAreSeen(t *testing.T) {
	t.Parallel()
	f := fill(t, 20000)
	w := &witness{t: t}
	config, err := pq.NewConfig(f.DSN)
	require.NoError(t, err)
	connector, err := pq.NewConnectorConfig(config)
	require.NoError(t, err)
	db := sql.OpenDB(explaining{connector, w})
	defer db.Close()
	for _, bad := range []string{
		`SELECT count(*) FROM webhooks.deliveries WHERE event_type = 'x'`,
		`SELECT delivery_id FROM webhooks.deliveries WHERE delivery_id > 0 ORDER BY event_type LIMIT 1`,
	} {
		var answer int64
		require.NoError(t, db.QueryRowContext(t.Context(), bad).Scan(&answer))
	}
	require.Len(t, w.plans, 2)
	for _, plan := range w.plans {
		require.NotEmpty(t, plan.faults())
	}
}

// node is a step of a plan as EXPLAIN (ANALYZE, FORMAT JSON) tells it.
type node struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Rows     float64 `json:"Actual Rows"`
	Removed  float64 `json:"Rows Removed by Filter"`
	Loops    float64 `json:"Actual Loops"`
	Plans    []node  `json:"Plans"`
}

// read is how many rows of a table were looked at.
func (n *node) read(relation string) (rows float64) {
	if n.Relation == relation {
		rows = (n.Rows + n.Removed) * n.Loops
	}
	for i := range n.Plans {
		rows += n.Plans[i].read(relation)
	}
	return rows
}

func (n *node) faults() (faults []string) {
	grows := strings.HasPrefix(n.Relation, "deliver") && n.Relation != "delivery_feed" || strings.HasPrefix(n.Relation, "attempts") ||
		n.Relation == "events" || n.Relation == "endpoint_slots" || n.Relation == "pending"
	// A day of few pages (measured: up to 170 attempts) is cheapest read whole, and each day is one after midnight.
	if grows && n.Type == "Seq Scan" && n.Loops > 0 && n.Rows+n.Removed > 200 {
		faults = append(faults, fmt.Sprintf("%s on %s of %.0f rows", n.Type, n.Relation, n.Rows+n.Removed))
	}
	// A walk through deliveries ends after 10 000; 30 days of a busy endpoint are some thousand hours by type and status.
	if touched := (n.Rows + n.Removed) * n.Loops; grows && touched > 11000 {
		faults = append(faults, fmt.Sprintf("%s on %s touches %.0f rows", n.Type, n.Relation, touched))
	}
	if n.Type == "Sort" && n.Plans[0].Rows*n.Loops > 3000 {
		faults = append(faults, fmt.Sprintf("a sort of %.0f rows", n.Plans[0].Rows*n.Loops))
	}
	for i := range n.Plans {
		faults = append(faults, n.Plans[i].faults()...)
	}
	return faults
}

// witness keeps the plans of what was asked over its connections.
type witness struct {
	t     *testing.T
	mu    sync.Mutex
	plans []node
}

// explaining is a connector whose connections have every query explained before it is run.
type explaining struct {
	driver.Connector

	witness *witness
}

func (e explaining) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := e.Connector.Connect(ctx)
	return &explainingConn{conn, e.witness}, err
}

type explainingConn struct {
	driver.Conn

	witness *witness
}

func (c *explainingConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, opts)
}

func (c *explainingConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

func (c *explainingConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	queryer := c.Conn.(driver.QueryerContext)
	rows, err := queryer.QueryContext(ctx, "EXPLAIN (ANALYZE, FORMAT JSON) "+query, args)
	if err != nil {
		return nil, err
	}
	row := make([]driver.Value, 1)
	var text strings.Builder
	for {
		err := rows.Next(row)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(c.witness.t, err)
		fmt.Fprintf(&text, "%s", row[0])
	}
	require.NoError(c.witness.t, rows.Close())
	var explained []struct{ Plan node }
	require.NoError(c.witness.t, json.Unmarshal([]byte(text.String()), &explained), text.String())
	c.witness.mu.Lock()
	c.witness.plans = append(c.witness.plans, explained[0].Plan)
	c.witness.mu.Unlock()
	return queryer.QueryContext(ctx, query, args)
}

// BenchmarkLists asks every question of 1 000 000 deliveries, a third of them one endpoint's.
func BenchmarkLists(b *testing.B) {
	f := fill(b, 1_000_000)
	r := projections.NewReader(f.DB.DB)
	for name, ask := range f.questions() {
		b.Run(name, func(b *testing.B) {
			require.NoError(b, ask(b.Context(), r)) // the pages that a busy history has in memory
			for b.Loop() {
				require.NoError(b, ask(b.Context(), r))
			}
		})
	}
}
