package bench

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/schema"
)

// hangEach: in Hang one endpoint of so many hangs.
const hangEach = 10

// run is one run: what it made, and has to take away.
type run struct {
	cfg Config

	admin, db  *sql.DB
	database   string
	dsn        string
	postmaster int // 0: the server is elsewhere
	key        seal.Key

	receiver *child
	control  string
	relays   []*child

	companies []uuid.UUID
	payloads  []outbox.Raw // of each company
	committed *commits
}

// open makes the database, the receiver and the endpoints, and readies the relays without starting them.
func (r *run) open(ctx context.Context) error {
	r.cfg.Progress("making a database")
	if err := r.openDatabase(ctx); err != nil {
		return err
	}
	r.cfg.Progress("making %d endpoints", r.cfg.Endpoints)
	urls, err := r.openReceiver(ctx)
	if err != nil {
		return err
	}
	if err := r.makeEndpoints(ctx, urls); err != nil {
		return err
	}
	for n := range r.cfg.Relays {
		c, err := startChild(ctx, r.cfg.Command, RelayVerb, ServeRelay)
		if err != nil {
			return err
		}
		r.relays = append(r.relays, c)
		if err := c.tell(relayOrder{DSN: r.dsn, SealKeys: r.key.Reveal(), Profile: r.profile(n)}); err != nil {
			return err
		}
		if err := c.hear(ctx, &ready{}); err != nil {
			return err
		}
	}
	return nil
}

// profile is where the n-th relay's profiles go: <it>.cpu and <it>.allocs.
func (r *run) profile(n int) string {
	if r.cfg.Profile == "" {
		return ""
	}
	return filepath.Join(r.cfg.Profile, "relay"+strconv.Itoa(n))
}

func (r *run) openDatabase(ctx context.Context) error {
	var err error
	if r.admin, err = openDB(r.cfg.DSN, 1); err != nil {
		return err
	}
	name := "surveyhooks_bench_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	if _, err := r.admin.ExecContext(ctx, createDatabase+name); err != nil {
		return fmt.Errorf("create database: %w", err)
	}
	r.database = name
	if r.dsn, err = inDatabase(r.cfg.DSN, name); err != nil {
		return err
	}
	if err := migrate(ctx, r.dsn); err != nil {
		return err
	}
	r.dsn = asRelay(r.dsn)
	if r.db, err = openDB(r.dsn, r.cfg.Producers+1); err != nil {
		return err
	}
	var backend int
	if err := r.admin.QueryRowContext(ctx, backendPID).Scan(&backend); err != nil {
		return fmt.Errorf("ask for backend: %w", err)
	}
	r.postmaster = readStat(backend).parent
	return nil
}

func migrate(ctx context.Context, dsn string) error {
	owner, err := openDB(dsn, 1)
	if err != nil {
		return err
	}
	defer owner.Close()
	return schema.Migrate(ctx, owner)
}

func (r *run) openReceiver(ctx context.Context) ([]string, error) {
	c, err := startChild(ctx, r.cfg.Command, ReceiverVerb, ServeReceiver)
	if err != nil {
		return nil, err
	}
	r.receiver = c
	order := receiverOrder{Endpoints: r.cfg.Endpoints}
	if r.cfg.Mode == Hang {
		order.HangEach = hangEach
	}
	if err := c.tell(order); err != nil {
		return nil, err
	}
	var answer receiverAnswer
	if err := c.hear(ctx, &answer); err != nil {
		return nil, err
	}
	r.control = answer.Control
	return answer.URLs, nil
}

func (r *run) makeEndpoints(ctx context.Context, urls []string) error {
	var err error
	if r.key, err = seal.NewKey("bench"); err != nil {
		return err
	}
	keys, err := seal.NewRing(r.key)
	if err != nil {
		return err
	}
	store, err := endpoint.New(endpoint.Options{DB: r.db, Policy: egress.Policy{Insecure: true}, Keys: keys})
	if err != nil {
		return fmt.Errorf("open endpoints: %w", err)
	}
	for range r.cfg.Endpoints / r.cfg.FanOut {
		company := uuid.New()
		data, err := payload(company, r.cfg.Payload)
		if err != nil {
			return err
		}
		r.companies, r.payloads = append(r.companies, company), append(r.payloads, data)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Producers)
	for i, url := range urls {
		group.Go(func() error {
			_, _, err := store.Create(ctx, endpoint.Create{CompanyID: r.companies[i/r.cfg.FanOut], URL: url, Actor: "bench"})
			if err != nil {
				return fmt.Errorf("create endpoint: %w", err)
			}
			return nil
		})
	}
	return group.Wait()
}

// close takes everything away, also after an open that went half way.
func (r *run) close() error {
	var faults []error
	for _, c := range append(r.relays, r.receiver) {
		if c != nil {
			faults = append(faults, c.stop())
		}
	}
	if r.db != nil {
		faults = append(faults, r.db.Close())
	}
	if r.database != "" {
		// Whatever ended the run, its database goes.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := r.admin.ExecContext(ctx, fmt.Sprintf(dropDatabase, r.database)); err != nil {
			faults = append(faults, fmt.Errorf("drop database %s: %w", r.database, err))
		}
	}
	if r.admin != nil {
		faults = append(faults, r.admin.Close())
	}
	return errors.Join(faults...)
}

// ask gets a control address of the receiver.
func (r *run) ask(ctx context.Context, path string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.control+path, nil)
	if err != nil {
		return fmt.Errorf("ask receiver: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // asked seldom; nothing stays behind
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask receiver: %w", err)
	}
	defer resp.Body.Close()
	return read(resp.Body)
}

func (r *run) tally(ctx context.Context) (t tally, err error) {
	err = r.ask(ctx, "/tally", func(body io.Reader) error { return json.NewDecoder(body).Decode(&t) })
	return t, err
}

// arrival is the first time that an event came to an endpoint.
type arrival struct {
	event    uuid.UUID
	endpoint int
	at       int64
}

func (r *run) arrivals(ctx context.Context) (list []arrival, err error) {
	err = r.ask(ctx, "/arrivals", func(body io.Reader) error {
		raw, err := io.ReadAll(body)
		if err != nil || len(raw)%arrivalBytes != 0 {
			return fmt.Errorf("read arrivals: %d bytes: want a multiple of %d: %w", len(raw), arrivalBytes, err)
		}
		for ; len(raw) > 0; raw = raw[arrivalBytes:] {
			list = append(list, arrival{
				event:    uuid.UUID(raw[:16]),
				endpoint: int(binary.BigEndian.Uint32(raw[16:])),
				at:       int64(binary.BigEndian.Uint64(raw[20:])), //nolint:gosec // the same clock wrote it
			})
		}
		return nil
	})
	return list, err
}
