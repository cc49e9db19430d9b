package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// browserStarts is how long a browser has to fail in.
const browserStarts = 2 * time.Second

// openOptions are the flags of open.
type openOptions struct {
	company   uuid.UUID
	person    string
	publicURL string
	base      *url.URL // publicURL, checked
	only      bool
}

func newOpenCommand(a *app) *cobra.Command {
	var o openOptions
	cmd := &cobra.Command{
		Use:   "open [--company UUID]",
		Short: "Open the pages in a browser, signed in: as an operator, or as an owner of a company",
		Long: `Makes a link that signs you in, once, as surveyhooks portal link does, prints it, and opens it in the browser of this
machine, if there is one and standard output is a terminal. Without --company you are an operator, who sees every
company, and /ops. The link is an argument of the browser's, which others on this machine could see before you use it:
--print opens nothing.`,
		Example: `  surveyhooks open
  surveyhooks open --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --as ada@example.com --print`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.base, err = parsePublicURL(o.publicURL); err != nil {
				return usage("%w", err)
			}
			return a.withAccess(cmd, uuid.Nil, func(_ context.Context, store *access.Store, by access.Caller) error {
				return a.open(cmd, store, by, o)
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&o.company}, "company", "sign in as an owner of this company (default: as an operator)")
	flags.StringVar(&o.person, "as", "", "your `name`, for the audit trail (default: that of this login)")
	flags.BoolVar(&o.only, "print", false, "print the link and open nothing")
	publicURLFlag(flags, &o.publicURL)
	return cmd
}

func (a *app) open(cmd *cobra.Command, store *access.Store, by access.Caller, o openOptions) error {
	ctx := cmd.Context()
	person := cmp.Or(o.person, by.Actor)
	var made access.Link
	var token access.Token
	var err error
	if o.company == uuid.Nil {
		made, token, err = store.MintOperatorLink(ctx, by, person, 0)
	} else {
		made, token, err = store.MintLink(ctx, by, access.NewLink{CompanyID: o.company, Role: access.Owner, Person: person})
	}
	if err != nil {
		return err
	}
	address := access.PortalURL(o.base.String(), token)
	if err := a.printLink(cmd, made, address); err != nil {
		return err
	}
	if !listens(ctx, o.base) {
		a.say("nothing answers at %s: run surveyhooks serve, or give --public-url", o.base)
		return nil
	}
	program, ok := a.browser()
	if o.only || !ok || !isTerminal(a.stdout) {
		return nil
	}
	if err := a.start(program, address); err != nil {
		a.say("it was not opened (%s): open it yourself", err)
	}
	return nil
}

// listens reports whether somebody takes connections at the URL.
func listens(ctx context.Context, base *url.URL) bool {
	port := cmp.Or(base.Port(), map[string]string{"http": "80", "https": "443"}[base.Scheme])
	conn, err := (&net.Dialer{Timeout: browserStarts}).DialContext(ctx, "tcp", net.JoinHostPort(base.Hostname(), port))
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said
	return true
}

// browser is the program that opens an address for whoever looks at this machine's display, if there is one.
func (a *app) browser() (string, bool) {
	name := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		name = "open"
	case a.lookup["DISPLAY"] == "" && a.lookup["WAYLAND_DISPLAY"] == "":
		return "", false
	}
	return find(name, filepath.SplitList(a.lookup["PATH"]))
}

// start opens the address. A browser that this one starts may live long: it is left to itself once it has not failed.
func (a *app) start(program, address string) error {
	cmd := exec.Command(program, address) //nolint:noctx // outlives this command on purpose
	cmd.Env = a.env
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			return fmt.Errorf("%s: %w", program, err)
		}
	case <-time.After(browserStarts):
	}
	return nil
}
