package access

import (
	"embed"
	"errors"
	"net/http"
	"strings"
)

//go:embed portal.html portal.css portal.svg
var portalFiles embed.FS

// maxForm bounds the one form of the portal: a token, and nothing else.
const maxForm = 4 << 10

// PortalURL is the address of a link, for the person it was made for: whoever has it can sign in once.
func PortalURL(publicURL string, link Token) string {
	return strings.TrimSuffix(publicURL, "/") + "/portal/sign-in?token=" + link.Reveal()
}

// notice is what a page of the portal says.
type notice int

const (
	askForLink notice = iota
	welcome
	linkUsedUp
	linkCutOff
	tooOften
	notNow
	stillIn
	signedOut
	away
	oneByOne
)

// words are the notice's title and text.
func (n notice) words() (title, text string) {
	const again = "Go back to your survey app and open the webhooks page from there: it makes a new link for you."
	switch n {
	case welcome:
		return "Welcome to your webhooks", "This link signs you in once, on this device."
	case linkUsedUp:
		return "This link does not open anything", "A link works once, and for a short time only. " + again
	case linkCutOff:
		return "This link is not complete", "A part of it is missing, or was changed on the way. Copy the whole link. Or start anew: " + again
	case tooOften:
		return "Too many tries", "Too many links from your network did not work. Wait a minute. " + again
	case notNow:
		return "Please try again soon", "Our database does not answer just now. Your link still works."
	case stillIn:
		return "You are still signed in", "Our database does not answer just now. Please try again soon."
	case away:
		return "Please try again soon", "Our database does not answer just now, so there is nothing to show. Your webhooks wait, and none is lost."
	case oneByOne:
		return "One moment, please", "Too many pages of yours are being loaded at once. Let some of them come, then load this one again."
	case signedOut:
		return "You are signed out", "To come back, open the webhooks page from your survey app."
	default:
		return "Please open a new link", "You are not signed in here, or your time has run out. " + again
	}
}

// page is what portal.html shows.
type page struct {
	Title, Text string
	Token       string // beside a button that sends it
	SignOut     bool   // a button
	Part        bool   // a message of another page
}

// Portal serves the pages by which people sign in and out, below /portal/. Opening a link changes nothing: programs that
// preview links would use them up. A button sends it.
func (g *Gate) Portal() http.Handler {
	p := portal{g}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /portal/{$}", p.say(http.StatusOK, askForLink))
	mux.HandleFunc("GET /portal/sign-in", p.offer)
	mux.HandleFunc("POST /portal/sign-in", p.signIn)
	mux.HandleFunc("GET /portal/signed-out", p.say(http.StatusOK, signedOut))
	mux.HandleFunc("POST /portal/sign-out", p.signOut)
	for _, asset := range []string{"portal.css", "portal.svg"} {
		mux.HandleFunc("GET /portal/"+asset, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=300")
			http.ServeFileFS(w, r, portalFiles, asset)
		})
	}
	return sameOrigin(mux)
}

type portal struct{ *Gate }

func (g *Gate) say(status int, n notice) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		title, text := n.words()
		g.print(w, status, page{Title: title, Text: text, SignOut: n == stillIn})
	}
}

func (g *Gate) print(w http.ResponseWriter, status int, shown page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = g.page.Execute(w, shown) // it fails when the client is gone
}

// offer shows the button. It looks nothing up: the page is the same for a link that works and one that does not.
func (p portal) offer(w http.ResponseWriter, r *http.Request) {
	token, err := parseToken(linkToken, r.URL.Query().Get("token"))
	if err != nil {
		p.say(http.StatusBadRequest, linkCutOff)(w, r)
		return
	}
	title, text := welcome.words()
	p.print(w, http.StatusOK, page{Title: title, Text: text, Token: token.Reveal()})
}

func (p portal) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	link, err := parseToken(linkToken, r.PostFormValue("token"))
	var started Session
	var token Token
	var landing string
	if err == nil {
		if !p.limits.admits(ClientOf(r.Context()).IP) {
			p.say(http.StatusTooManyRequests, tooOften)(w, r)
			return
		}
		before, _ := sessionOf(r)
		token, started, landing, err = p.store.signIn(r.Context(), link, before)
	}
	switch {
	case err == nil:
		p.logger.Info("signed in", "session_id", started.ID, "role", started.Role, "ip", ClientOf(r.Context()).IP.String())
		http.SetCookie(w, cookie(token.Reveal(), 0))
		http.Redirect(w, r, landing, http.StatusSeeOther)
	case !errors.Is(err, errMalformed) && !errors.Is(err, ErrRefused):
		p.broken(r, err).hint(w)
		p.say(http.StatusServiceUnavailable, notNow)(w, r)
	case !p.charge(r, "portal link"):
		p.say(http.StatusTooManyRequests, tooOften)(w, r)
	default:
		p.say(http.StatusForbidden, linkUsedUp)(w, r)
	}
}

func (p portal) signOut(w http.ResponseWriter, r *http.Request) {
	if token, ok := sessionOf(r); ok {
		if err := p.store.signOut(r.Context(), token); err != nil {
			p.broken(r, err).hint(w)
			p.say(http.StatusServiceUnavailable, stillIn)(w, r)
			return
		}
	}
	http.SetCookie(w, cookie("", -1))
	http.Redirect(w, r, "/portal/signed-out", http.StatusSeeOther)
}
