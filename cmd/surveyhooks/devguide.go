package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/receiver"
)

const (
	usualAddr  = "127.0.0.1:8080" // what listen and portal link go to by themselves
	eagerSteps = 12               // transactions before the guide, so that no page is empty when it is first opened
	guideAfter = 5 * time.Second  // at the latest: the pages say what is wrong, if something is
	remindEach = 40               // lines, after which the guide has left most screens
)

// devWeb serves on the listener. Browsers keep a session's cookie without TLS from localhost alone, whatever address of
// this machine it is.
func devWeb(listener net.Listener) webOptions {
	_, port, _ := net.SplitHostPort(listener.Addr().String()) // a listener's address has one
	return webOptions{
		listener: listener, listenAddr: listener.Addr().String(), publicURL: "http://localhost:" + port,
		idle: 12 * time.Hour, absolute: 12 * time.Hour, // one working day
	}
}

// devAccess is what a person gets in with.
type devAccess struct{ owner, operator, key string }

// newDevAccess makes two links and a key. Those of earlier runs end by themselves.
func newDevAccess(ctx context.Context, db *sql.DB, publicURL string) (in devAccess, err error) {
	store, err := access.NewStore(access.Options{DB: db})
	if err != nil {
		return in, err
	}
	by, life := access.Caller{Role: access.Operator, Actor: "dev"}, 24*time.Hour
	_, owner, err := store.MintLink(ctx, by, access.NewLink{
		CompanyID: uuid.MustParse(demoCompany), Role: access.Owner, Person: "dev", Life: life,
	})
	if err != nil {
		return in, err
	}
	_, operator, err := store.MintOperatorLink(ctx, by, "dev", life)
	if err != nil {
		return in, err
	}
	_, key, err := store.CreateKey(ctx, by, access.NewKey{Name: "surveyhooks dev", Life: life})
	return devAccess{access.PortalURL(publicURL, owner), access.PortalURL(publicURL, operator), key.Reveal()}, err
}

// devSelf is this command as it was called: it need not be in PATH.
func devSelf() string {
	if strings.ContainsRune(os.Args[0], os.PathSeparator) {
		return os.Args[0]
	}
	return "surveyhooks"
}

// devGuide says what runs, and what to try next, with ids that work. hint says what else those commands need.
func (a *app) devGuide(l demos, in devAccess, web webOptions, hint string) string {
	self, failing := devSelf(), l[1]
	var text strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	say("")
	say("A survey fills itself; what happens in it is told to three endpoints of a demo company.")
	say("")
	say("Open in a browser, each link once:")
	say("  as the company     %s", in.owner)
	say("  as the operator    %s", in.operator)
	say("  another link       %s portal link --company %s --as you%s", self, demoCompany, hint)
	say("")
	say("Endpoints:")
	for _, d := range l {
		say("  %s  %s  %s", d.path[1:], d.id, d.manner)
	}
	say("")
	say("In another terminal%s:", hint)
	say("  export SURVEYHOOKS_API_KEY=%s", in.key)
	say("  export SURVEYHOOKS_API_URL=%s SURVEYHOOKS_PUBLIC_URL=%[1]s", web.publicURL)
	say(`  curl -H "Authorization: Bearer $SURVEYHOOKS_API_KEY" $SURVEYHOOKS_API_URL/v1/companies/%s/endpoints`, demoCompany)
	say("  %s trigger conversation.completed --company %s", self, demoCompany)
	say("  %s deliveries list --endpoint %s", self, failing.id)
	say("  %s recover %s --since 1h --dry-run", self, failing.id)
	say("  %s listen --company %s --forward-to http://localhost:3000/hook --print-secret", self, demoCompany)
	say("  %s audit", self)
	say(`  psql "%s" -c "TABLE webhooks.endpoint_health"`, maskDSN(a.databaseURL))
	say("")
	say("INSECURE ENDPOINTS ARE ALLOWED here: plain http and private addresses. For development only.")
	say("Ctrl-C stops everything in order. What arrives:")
	return text.String()
}

// devScreen is the guide, and then what arrives. It is silent until the first events have come, and again when dev is
// stopping. It is safe for concurrent use.
type devScreen struct {
	printer *receiver.Printer
	guide   string
	remind  string

	mu            sync.Mutex
	came          int // before the guide
	lines         int // since it, or since the last reminder
	shown, closed bool
}

// arrived prints a request to one of the endpoints.
func (s *devScreen) arrived(a receiver.Arrival) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.came++; s.came == eagerSteps {
		s.showLocked()
	}
	if s.shown && !s.closed {
		s.printer.Print(a)
		s.countLocked()
	}
}

// notef prints a line between them.
func (s *devScreen) notef(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shown && !s.closed {
		s.printer.Notef(format, args...)
		s.countLocked()
	}
}

// show prints the guide, if it has not been.
func (s *devScreen) show() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.showLocked()
}

// close ends the printing: what arrives while all is stopped only hides what stopped.
func (s *devScreen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func (s *devScreen) showLocked() {
	if !s.shown && !s.closed {
		s.shown = true
		s.printer.Notef("%s", s.guide)
	}
}

func (s *devScreen) countLocked() {
	if s.lines++; s.lines%remindEach == 0 {
		s.printer.Notef("── %s ──", s.remind)
	}
}
