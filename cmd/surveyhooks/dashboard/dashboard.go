package dashboard

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/egress"
)

// Config is what the pages read from and act on.
type Config struct {
	History    *projections.Reader // required, as are the next nine
	Registry   Registry
	Switch     Switch
	Keys       Keys
	Sender     Sender
	Recovery   Recovery
	Tests      Quota
	Trail      Trail
	Looker     Looker
	MaxRate    int        // attempts a second that an endpoint may be given at most
	Operations Operations // nil: there is no page for operators

	Lease     time.Duration // of relays, to tell operators their last heartbeat; 0: it is not told
	Retention time.Duration // of the days of the logs, to tell operators; 0: it is not told

	Contract Contract         // what receivers are told; zero: what is promised by default
	URLs     egress.Policy    // which URLs an endpoint may have; zero: production's
	Stopping <-chan struct{}  // closed when the server stops: live lists end; nil: never
	SignOut  string           // where a form is posted to that ends the session; "": no button
	Now      func() time.Time // the clock of relative times; default time.Now
	Logger   *slog.Logger     // default: none
}

// Validate reports everything that is missing.
func (c Config) Validate() error {
	var faults []error
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"History", c.History != nil},
		{"Registry", c.Registry != nil},
		{"Switch", c.Switch != nil},
		{"Keys", c.Keys != nil},
		{"Sender", c.Sender != nil},
		{"Recovery", c.Recovery != nil},
		{"Tests", c.Tests != nil},
		{"Trail", c.Trail != nil},
		{"Looker", c.Looker != nil},
		{"MaxRate", c.MaxRate > 0},
	} {
		if !field.set {
			faults = append(faults, fmt.Errorf("dashboard: %s is not set: want one", field.name))
		}
	}
	return errors.Join(faults...)
}

// site serves the pages.
type site struct {
	Config

	pages   map[string]*template.Template
	assets  assets
	mux     *http.ServeMux
	forms   *onceOnly
	tails   *gate // live lists
	exports *gate

	lookouts *lookouts
}

// Pages serves all pages. Whoever mounts it has put the caller into each request's context.
type Pages struct {
	http.Handler

	// Nothing answers whatever it is asked as an address that is nobody's.
	Nothing http.Handler
}

// New makes the pages.
func New(c Config) (*Pages, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	s := &site{
		Config: c, mux: http.NewServeMux(), forms: newOnce(c.Now), tails: newGate(tailsPerCompany, tailsOfAll),
		exports: newGate(exportsPerCompany, exportsOfAll), lookouts: newLookouts(c.Looker, c.Now),
	}
	var err error
	if s.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = s.parsePages(); err != nil {
		return nil, err
	}
	s.routes()
	return &Pages{
		Handler: guarded(http.HandlerFunc(s.route)),
		Nothing: guarded(s.serve(func(*request) error { return notFound() })),
	}, nil
}

// page answers a request, or says why it cannot.
type page func(*request) error

// looks are the pages that change nothing.
func looks() map[string]page {
	return map[string]page{
		"GET /{$}": (*request).home,

		"GET /endpoints":                                  (*request).listEndpoints,
		"GET /endpoints/check":                            (*request).checkURL,
		"GET /endpoints/new":                              (*request).newEndpoint,
		"GET /endpoints/{endpoint}":                       (*request).showEndpoint,
		"GET /endpoints/{endpoint}/edit":                  (*request).editEndpoint,
		"GET /endpoints/{endpoint}/rotate":                (*request).confirmRotate,
		"GET /endpoints/{endpoint}/delete":                (*request).confirmDelete,
		"GET /endpoints/{endpoint}/recover":               (*request).askRecovery,
		"GET /endpoints/{endpoint}/recoveries/{recovery}": (*request).showRecovery,
		"GET /endpoints/{endpoint}/deliveries":            (*request).listDeliveries,
		"GET /endpoints/{endpoint}/tests/{event}":         (*request).showTest,

		"GET /deliveries":            (*request).listDeliveries,
		"GET /deliveries/live":       (*request).tail,
		"GET /deliveries/export":     (*request).export,
		"GET /deliveries/{delivery}": (*request).showDelivery,

		"GET /deliveries/{delivery}/attempts/{attempt}/response": (*request).downloadResponse,
		"GET /deliveries/{delivery}/request":                     (*request).downloadRequest,

		"GET /events":         (*request).listEvents,
		"GET /events/{event}": (*request).showEvent,
		"GET /event-types":    (*request).listEventTypes,
		"GET /receiving":      (*request).receiving,
		"GET /signature":      (*request).askSignature,
		"POST /signature":     (*request).checkSignature, // changes nothing, and its secret must not be kept to answer twice
		"GET /trail":          (*request).showTrail,
		"GET /ops":            (*request).operations,
		"GET /ops/{order}":    (*request).confirmOrder,
	}
}

// changes are the forms. A change is a POST, so that it works without JavaScript.
func changes() map[string]page {
	return map[string]page{
		"POST /endpoints":                                         (*request).createEndpoint,
		"POST /endpoints/{endpoint}":                              (*request).updateEndpoint,
		"POST /endpoints/{endpoint}/enable":                       (*request).enable,
		"POST /endpoints/{endpoint}/disable":                      (*request).disable,
		"POST /endpoints/{endpoint}/delete":                       (*request).delete,
		"POST /endpoints/{endpoint}/rotate":                       (*request).rotate,
		"POST /endpoints/{endpoint}/test":                         (*request).test,
		"POST /endpoints/{endpoint}/recover":                      (*request).startRecovery,
		"POST /endpoints/{endpoint}/recoveries/{recovery}/cancel": (*request).cancelRecovery,
		"POST /events/{event}/endpoints/{endpoint}/send":          (*request).sendEvent,
		"POST /event-types/example":                               (*request).sendExample,
		"POST /deliveries/retry":                                  (*request).retryMany,
		"POST /deliveries/{delivery}/retry":                       (*request).retryOne,
		"POST /ops/{order}":                                       (*request).order,
	}
}

// Patterns are all that New serves but its assets, as http.ServeMux writes them, in order: of pages that are looked at,
// and of forms that change something. Who proves a rule for every page asks for them.
func Patterns() (looking, changing []string) {
	return slices.Sorted(maps.Keys(looks())), slices.Sorted(maps.Keys(changes()))
}

func (s *site) routes() {
	s.mux.HandleFunc("GET /assets/{name}", s.assets.serve)
	for pattern, p := range looks() {
		s.mux.Handle(pattern, s.serve(p.inTurn()))
	}
	for pattern, p := range changes() {
		s.mux.Handle(pattern, s.serve(p.inTurn().once().changing()))
	}
}
