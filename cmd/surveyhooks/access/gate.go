package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// cookieName begins with a prefix by which browsers take the cookie over TLS alone (localhost counts), from this host
// alone, and for all of it.
const cookieName = "__Host-surveyhooks"

// signInPage is where a browser without a session is sent.
const signInPage = "/portal/"

// recheck is how often a request that lasts, such as a stream, is asked again whether it may.
const recheck = 30 * time.Second

// Gate lets requests in, or not.
type Gate struct {
	store   *Store
	logger  *slog.Logger
	limits  *limiter
	turns   *turns
	page    *template.Template
	recheck time.Duration
}

// NewGate returns a gate over the store.
func NewGate(store *Store, logger *slog.Logger) *Gate {
	page := template.Must(template.ParseFS(portalFiles, "portal.html"))
	return &Gate{store: store, logger: logger, limits: newLimiter(), turns: newTurns(), page: page, recheck: recheck}
}

// RequireKey lets in who sends `Authorization: Bearer` and a live API key; the handler finds the Caller in the context.
// Others get 401 or 429 as application/problem+json. The context of a request that lasts ends soon after its key.
func (g *Gate) RequireKey(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, given := bearer(r)
		if !given {
			unauthorized(w, "", problem{Code: "api_key_missing", Detail: "Send the header Authorization: Bearer and one API key."})
			return
		}
		token, err := parseToken(keyToken, text)
		var caller Caller
		if err == nil {
			if !g.limits.admits(ClientOf(r.Context()).IP) {
				tooMany().write(w)
				return
			}
			caller, err = g.lookUp(r.Context(), token, g.store.callerByKey)
		}
		switch {
		case err == nil:
			g.admit(w, r, admission{caller, keyLives, token, next})
		case errors.Is(err, ErrBusy):
			busy().write(w)
		case !errors.Is(err, errMalformed) && !errors.Is(err, ErrRefused):
			g.broken(r, err).write(w)
		case !g.charge(r, "API key"):
			tooMany().write(w)
		case errors.Is(err, errMalformed):
			unauthorized(w, "invalid_token", problem{Code: "api_key_malformed", Detail: "This is no whole API key: it begins with " + string(keyToken) + ", and was mistyped or cut off."})
		default:
			unauthorized(w, "invalid_token", problem{Code: "api_key_refused", Detail: "This API key opens nothing. Ask an operator for a new one."})
		}
	})
}

// RequireSession lets in who is signed in; the handler finds the Caller in the context. Others are sent to the page that
// says how to sign in, or get 401 where a script asks. Requests from other sites get 403. The context of a request that
// lasts ends soon after its session.
func (g *Gate) RequireSession(next http.Handler) http.Handler {
	return sameOrigin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, given := sessionOf(r)
		if !given {
			signInFirst(w, r)
			return
		}
		ip := ClientOf(r.Context()).IP
		if !g.limits.admits(ip) {
			g.show(w, r, tooOften, tooMany())
			return
		}
		caller, err := g.lookUp(r.Context(), token, g.store.callerBySession)
		switch {
		case err == nil:
			g.admit(w, r, admission{caller, sessionLives, token, next})
		case errors.Is(err, ErrBusy):
			g.show(w, r, oneByOne, busy())
		case errors.Is(err, ErrRefused) && !g.limits.failed(ip): // not told to the log: most have just expired
			g.show(w, r, tooOften, tooMany())
		case errors.Is(err, ErrRefused):
			http.SetCookie(w, cookie("", -1))
			signInFirst(w, r)
		default:
			g.show(w, r, away, g.broken(r, err))
		}
	}))
}

// lookUp finds out who a token belongs to, in a turn of the token's: one that is sent all the time keeps nobody waiting.
func (g *Gate) lookUp(ctx context.Context, token Token, by func(context.Context, Token) (Caller, error)) (Caller, error) {
	end, err := turn{g.turns, []seat{{token: [sha256.Size]byte(token.hash())}}}.take(ctx, turnWithin)
	if err != nil {
		return Caller{}, err
	}
	defer end()
	return by(ctx, token)
}

// RequireOperator is RequireSession for operators alone. To others the page does not exist: nothing answers them, as it
// does at every other address that is nobody's.
func (g *Gate) RequireOperator(next, nothing http.Handler) http.Handler {
	return g.RequireSession(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if caller, _ := From(r.Context()); caller.Role != Operator {
			nothing.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}))
}

// admission is a request that was let in, and what let it in.
type admission struct {
	caller Caller
	lives  string // the query that asks again
	token  Token
	next   http.Handler
}

// admit serves the request, and ends its context when what let it in is revoked or expires meanwhile.
func (g *Gate) admit(w http.ResponseWriter, r *http.Request, a admission) {
	t := turn{g.turns, []seat{{token: [sha256.Size]byte(a.token.hash())}, {company: a.caller.CompanyID}}}
	ctx, cancel := context.WithCancel(context.WithValue(With(r.Context(), a.caller), turnKey{}, t))
	defer cancel()
	timer := time.AfterFunc(g.recheck, func() { g.watch(ctx, cancel, a) })
	defer timer.Stop()
	a.next.ServeHTTP(w, r.WithContext(ctx))
}

// watch asks again until the request ends. Asking is no use: a page that is left open does not keep its session.
func (g *Gate) watch(ctx context.Context, cancel context.CancelFunc, a admission) {
	ticker := time.NewTicker(g.recheck)
	defer ticker.Stop()
	for {
		lives, err := g.store.lives(ctx, a.lives, a.token)
		if err == nil && !lives {
			cancel() // an error may be a database that is away for a moment
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// charge counts a failure against the client, and tells the log as long as that stays short.
func (g *Gate) charge(r *http.Request, what string) bool {
	client := ClientOf(r.Context())
	if !g.limits.failed(client.IP) {
		return false
	}
	g.logger.Warn("access refused", "what", what, "ip", client.IP.String())
	return true
}

func (g *Gate) broken(r *http.Request, err error) problem {
	if r.Context().Err() == nil {
		g.logger.Error("access not checked", "error", err)
	}
	return problem{
		Status: http.StatusServiceUnavailable, Code: "unavailable", Detail: "The database does not answer. Try again soon.", retryAfter: 5,
	}
}

// show answers a person with a page, htmx with a message above the page that it is on, and a script with the problem.
func (g *Gate) show(w http.ResponseWriter, r *http.Request, n notice, p problem) {
	switch {
	case wantsPage(r):
		p.hint(w)
		g.say(p.Status, n)(w, r)
	case r.Header.Get("Hx-Request") != "":
		p.hint(w)
		w.Header().Set("Hx-Retarget", "#message")
		w.Header().Set("Hx-Reswap", "innerHTML")
		title, text := n.words()
		g.print(w, p.Status, page{Title: title, Text: text, Part: true})
	default:
		p.write(w)
	}
}

// bearer takes the header alone: a token in an address would be in every log on the way.
func bearer(r *http.Request) (string, bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	scheme, text, ok := strings.Cut(headers[0], " ")
	return strings.TrimSpace(text), ok && strings.EqualFold(scheme, "Bearer")
}

// sessionOf returns the token of the session cookie; what cannot be one is as good as none.
func sessionOf(r *http.Request) (Token, bool) {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return Token{}, false
	}
	token, err := parseToken(sessionToken, c.Value)
	return token, err == nil
}

// cookie holds a session's token; it lasts until the browser ends, and the limits are the database's.
func cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}

func unauthorized(w http.ResponseWriter, fault string, p problem) {
	challenge := `Bearer realm="surveyhooks"`
	if fault != "" {
		challenge += `, error="` + fault + `"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	p.Status = http.StatusUnauthorized
	p.write(w)
}

func tooMany() problem {
	return problem{
		Status: http.StatusTooManyRequests, Code: "too_many_failures", Detail: "Too many tokens from this address were refused. Wait a little.",
		retryAfter: int(failureEvery / time.Second),
	}
}

func busy() problem {
	return problem{
		Status: http.StatusTooManyRequests, Code: "too_many_requests", Detail: "Too many requests of yours are under way. Let some of them end.", retryAfter: 1,
	}
}

// wantsPage reports whether a person looks at the answer, and no script.
func wantsPage(r *http.Request) bool {
	mode := r.Header.Get("Sec-Fetch-Mode")
	page := mode == "navigate" || mode == "" && strings.Contains(r.Header.Get("Accept"), "text/html")
	return page && r.Header.Get("Hx-Request") == ""
}

// signInFirst sends a person to the page that says how to sign in. A script cannot follow a redirect to a page: it gets
// 401, and htmx is told to go there.
func signInFirst(w http.ResponseWriter, r *http.Request) {
	if wantsPage(r) {
		http.Redirect(w, r, signInPage, http.StatusSeeOther)
		return
	}
	if r.Header.Get("Hx-Request") != "" {
		w.Header().Set("Hx-Redirect", signInPage)
	}
	problem{Status: http.StatusUnauthorized, Code: "session_missing", Detail: "Nobody is signed in here. Open a new link from the survey app."}.write(w)
}
