package main

import (
	"bytes"
	"fmt"
	"html"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// signedRequest is a delivery as it was really signed.
type signedRequest struct {
	endpoint endpoint.Endpoint
	secret   sign.Secret
	form     url.Values // of the page, as a browser sends it
	body     string
}

// signed tells of a delivery that was attempted so long ago, with these data.
func (p *pages) signed(id int64, ago time.Duration, data string) signedRequest {
	p.Helper()
	e, secret, err := p.store.Create(p.Context(), endpoint.Create{
		CompanyID: p.owner.CompanyID, URL: fmt.Sprint("https://example.com/", id), Actor: p.owner.Actor,
	})
	require.NoError(p, err)
	event, at := uuid.New(), p.now.Add(-ago)
	p.outboxed(event, outbox.ConversationStartedType, data)
	p.told(p.facts(story{endpoint: e, id: id, event: event, kind: outbox.ConversationStartedType, at: at, outcomes: []told{succeeded()}})...)
	body := p.get(fmt.Sprintf("/deliveries/%d/request", id)).Body.String()
	signer, err := sign.NewSigner(secret)
	require.NoError(p, err)
	signature := string(signer.AppendSignature(nil, event.String(), at.Unix(), []byte(body)))
	_, err = p.db.Owner.ExecContext(p.Context(), `UPDATE webhooks.attempts SET request_signature = $2 WHERE delivery_id = $1`, id, signature)
	require.NoError(p, err)
	return signedRequest{endpoint: e, secret: secret, body: body, form: url.Values{
		"headers": {fmt.Sprintf("Webhook-Id: %s\r\n< webhook-timestamp: %d\r\nwebhook-signature: %s\r\n", event, at.Unix(), signature)},
		"body":    {strings.ReplaceAll(body, "\n", "\r\n")},
	}}
}

// with is the form with some fields changed.
func (s signedRequest) with(fields ...string) url.Values {
	form := maps.Clone(s.form)
	for i := 0; i+1 < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return form
}

func TestAPastedRequestIsDiagnosed(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	s := p.signed(1, 0, "{\"survey\":{\"name\":\"Über\"},\n \"x\":1}")
	right := s.secret.Reveal()
	for name, c := range map[string]struct {
		form url.Values
		code int
		says string
	}{
		"Right":        {s.with("secret", " "+right+" "), http.StatusOK, "The signature is right"},
		"JSONHeaders":  {s.with("secret", right, "headers", jsonHeaders(s)), http.StatusOK, "The signature is right"},
		"OtherSecret":  {s.with("secret", sign.NewSecret().Reveal()), http.StatusOK, "the secret is another endpoint's"},
		"LineBreak":    {s.with("secret", right, "body", s.form.Get("body")+"\r\n"), http.StatusOK, "ends in a line break"},
		"NoSecret":     {s.with(), http.StatusUnprocessableEntity, "Paste the endpoint’s signing secret"},
		"HalfASecret":  {s.with("secret", "whsec_abc"), http.StatusUnprocessableEntity, "padded standard base64"},
		"NoSignature":  {s.with("secret", right, "headers", "webhook-id: a\r\nwebhook-timestamp: 1"), http.StatusUnprocessableEntity, "There is no webhook-signature among them"},
		"NoHeaders":    {s.with("secret", right, "headers", ""), http.StatusUnprocessableEntity, "There is no webhook-id, no webhook-timestamp, no webhook-signature"},
		"TooLarge":     {s.with("body", strings.Repeat("x", 1<<20)), http.StatusRequestEntityTooLarge, "at most 1 MiB"},
		"NoSuchOfMine": {s.with("delivery", "99", "attempt", "1"), http.StatusNotFound, "There is nothing here"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := p.do(p.viewer(), http.MethodPost, "/signature", c.form)
			require.Equal(t, c.code, w.Code)
			text := html.UnescapeString(w.Body.String())
			require.Contains(t, text, c.says)
			requirePage(t, name, w.Body.String())
			if secret := strings.TrimSpace(c.form.Get("secret")); secret != "" {
				require.NotContains(t, text, secret, "what was typed as a secret is not shown again")
			}
		})
	}
}

func jsonHeaders(s signedRequest) string {
	var fields []string
	for line := range strings.SplitSeq(strings.TrimSpace(s.form.Get("headers")), "\r\n") {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "< "), ": ")
		fields = append(fields, fmt.Sprintf("%q: [%q]", name, value))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// From a delivery the form is filled, and checked with the stored secrets, none of which is shown.
func TestADeliverysSignatureIsCheckedWithTheStoredSecret(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	s := p.signed(1, 0, `{"survey":{"name":"<Exit>"}}`)
	link := "/signature?delivery=1&attempt=1"
	require.Contains(t, p.get("/deliveries/1").Body.String(), strings.ReplaceAll(link, "&", "&amp;"))
	page := html.UnescapeString(p.get(link).Body.String())
	require.Contains(t, page, s.body)
	require.Contains(t, page, "webhook-signature: v1,")

	check := func(form url.Values) string {
		w := p.post("/signature", form)
		require.Equal(t, http.StatusOK, w.Code)
		text := html.UnescapeString(w.Body.String())
		require.NotContains(t, text, s.secret.Reveal())
		return text
	}
	mine := []string{"delivery", "1", "attempt", "1"}
	require.Contains(t, check(s.with(mine...)), "with the endpoint’s current secret")
	require.Contains(t, check(s.with(append(mine, "secret", s.secret.Reveal())...)), "with this secret")
	changed := strings.Replace(s.body, "<Exit>", `\u003cExit\u003e`, 1)
	at := fmt.Sprintf("alike for %d of %d bytes", strings.Index(s.body, "<Exit>"), len(s.body))
	require.Contains(t, check(s.with(append(mine, "body", changed)...)), at, "it says where the bytes part")

	ref := endpoint.Ref{Scope: endpoint.Company(p.owner.CompanyID), ID: s.endpoint.ID, Actor: p.owner.Actor}
	_, _, err := p.store.RotateSecret(t.Context(), ref, sign.Secret{})
	require.NoError(t, err)
	require.Contains(t, check(s.with(mine...)), "previous secret")
	_, _, err = p.store.RotateSecret(t.Context(), ref, sign.Secret{}) // ends the first one
	require.NoError(t, err)
	require.Contains(t, check(s.with(mine...)), "The signature is not right")

	old := p.signed(2, time.Hour, `{}`)
	require.Contains(t, check(old.with("delivery", "2", "attempt", "1")), "right, but a receiver refuses it now")

	stranger := p.owner
	stranger.CompanyID = uuid.New()
	require.Equal(t, http.StatusNotFound, p.do(stranger, http.MethodGet, link, nil).Code)
	require.Equal(t, http.StatusNotFound, p.do(stranger, http.MethodPost, "/signature", s.with(mine...)).Code)
	require.Equal(t, http.StatusNotFound, p.get("/signature?delivery=1&attempt=7").Code)
}

// A secret that is typed reaches no log, even when the check itself fails.
func TestATypedSecretIsNotLogged(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	s := p.signed(1, 0, `{}`)
	var log bytes.Buffer
	var err error
	p.handler, err = newPages(pagesOptions{
		db: p.pool, keys: p.keys, recovery: p.recovery, logger: slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	_, err = p.db.Owner.ExecContext(t.Context(), `ALTER TABLE webhooks.deliveries RENAME TO gone`)
	require.NoError(t, err)
	secret := s.secret.Reveal()
	w := p.post("/signature", s.with("secret", secret, "delivery", "1", "attempt", "1"))
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Contains(t, log.String(), "page failed")
	require.NotContains(t, log.String()+w.Body.String()+fmt.Sprint(w.Header()), secret[len("whsec_"):])
}
