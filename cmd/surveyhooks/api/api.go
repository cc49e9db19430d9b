package api

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

// Config says what the API stands on.
type Config struct {
	DB         *sql.DB           // required
	Endpoints  *endpoint.Store   // required
	Recoveries *recovery.Service // required; some process must run recoveries
	Operations *operator.Service // required; somebody must run this one
	Access     *access.Store     // required
	PublicURL  string            // required: by which browsers reach the pages, for portal links
	Stopping   <-chan struct{}   // closed when the server begins to stop: streams end then; nil: they end with their connections
	Logger     *slog.Logger      // default: slog.Default()
}

// Validate joins everything that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"DB": c.DB == nil, "Endpoints": c.Endpoints == nil, "Recoveries": c.Recoveries == nil,
		"Operations": c.Operations == nil, "Access": c.Access == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("%s is nil: the API cannot do without", name))
		}
	}
	if c.PublicURL == "" {
		errs = append(errs, errors.New("PublicURL is empty: want the URL by which browsers reach us, such as https://hooks.example.com"))
	}
	return errors.Join(errs...)
}

// server holds what the handlers share.
type server struct {
	db         *sql.DB
	endpoints  *endpoint.Store
	history    *projections.Reader
	queue      *delivery.Queue
	recoveries *recovery.Service
	operations *operator.Service
	access     *access.Store
	publicURL  string
	streams    *streams
	logger     *slog.Logger
}

const (
	answerWithin  = 25 * time.Second // the server cuts an answer off after 30 s
	maxBody       = 64 << 10
	maxPublishing = 256<<10 + 4<<10 // the data of an event, and what is around it
)

// New returns the API. It wants an access.Caller in the context of every request; mount it at /v1/ behind whatever puts
// one there.
func New(c Config) (http.Handler, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("make API: %w", err)
	}
	s := &server{
		db: c.DB, endpoints: c.Endpoints, history: projections.NewReader(c.DB), queue: &delivery.Queue{DB: c.DB},
		recoveries: c.Recoveries, operations: c.Operations, access: c.Access, publicURL: c.PublicURL,
		streams: newStreams(c.Stopping), logger: c.Logger,
	}
	if s.logger == nil {
		s.logger = slog.Default()
	}
	return s.mux(routes()), nil
}
