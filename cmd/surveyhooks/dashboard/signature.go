package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// maxSigned bounds the form of a signature in bytes: a body, escaped as forms are, and some headers.
const maxSigned = 1 << 20

// signaturePage is a request as somebody received it, and what is right or wrong with its signature. The secret that was
// typed is not in it: it is neither kept nor shown.
type signaturePage struct {
	Delivery *projections.DeliveryDetail // nil: typed by hand
	Attempt  int
	Headers  string
	Body     string
	Faults   map[string]string // by field
	Verdict  *verdict          // nil: nothing was checked yet

	sent projections.SentRequest
}

// verdict is what a signature was found to be.
type verdict struct {
	Kind  string // of mark: ok, hold or fail
	Title string
	Words string
}

// askSignature shows the form: empty, or filled with what an attempt sent.
func (q *request) askSignature() error {
	query := q.r.URL.Query()
	p, err := q.signatureOf(query.Get("delivery"), query.Get("attempt"))
	if err != nil {
		return err
	}
	if p.Delivery != nil {
		var lines strings.Builder
		for _, h := range p.sent.Headers {
			fmt.Fprintf(&lines, "%s: %s\n", h.Name, h.Value)
		}
		p.Headers, p.Body = lines.String(), string(p.sent.Body)
	}
	return q.showSignature(http.StatusOK, p)
}

// signatureOf is the page of an attempt that the address or the form names; of none without one.
func (q *request) signatureOf(delivery, attempt string) (*signaturePage, error) {
	p := &signaturePage{Faults: map[string]string{}}
	if delivery == "" {
		return p, nil
	}
	id, err := strconv.ParseInt(delivery, 10, 64)
	if err != nil || id <= 0 {
		return nil, ErrNotFound
	}
	if p.Attempt, err = strconv.Atoi(attempt); err != nil {
		return nil, ErrNotFound
	}
	d, err := q.History.Delivery(q.r.Context(), q.caller.CompanyID, id)
	if err != nil {
		return nil, err
	}
	p.Delivery = &d
	p.sent, err = q.History.Request(q.r.Context(), d.CompanyID, id, p.Attempt)
	return p, err
}

func (q *request) showSignature(status int, p *signaturePage) error {
	v := view{Title: "Check a signature", Section: "receiving", Status: status, Data: p, Crumbs: []crumb{{"Receiving", "/receiving"}}}
	if p.Delivery != nil {
		v.Section = "deliveries"
		id := strconv.FormatInt(p.Delivery.DeliveryID, 10)
		v.Crumbs = []crumb{{"Deliveries", "/deliveries"}, {"Delivery " + id, fmt.Sprintf("/deliveries/%s?attempt=%d", id, p.Attempt)}}
	}
	return q.render("signature", v)
}

// checkSignature changes nothing, so that whoever may only look may check, too. It is a POST since an address is logged
// and kept.
func (q *request) checkSignature() error {
	if err := q.readForm(maxSigned); err != nil {
		return err
	}
	form := q.r.PostForm
	p, err := q.signatureOf(form.Get("delivery"), form.Get("attempt"))
	if err != nil {
		return err
	}
	p.Headers, p.Body = form.Get("headers"), form.Get("body")
	received, err := readHeaders(p.Headers)
	if err != nil {
		p.Faults["headers"] = sentence(err.Error())
	}
	text := strings.TrimSpace(form.Get("secret"))
	var secret sign.Secret
	switch {
	case text != "":
		if secret, err = sign.ParseSecret(text); err != nil {
			p.Faults["secret"] = sentence(err.Error())
		}
	case p.Delivery == nil:
		p.Faults["secret"] = "Paste the endpoint’s signing secret, whsec_ and all."
	}
	if len(p.Faults) > 0 {
		return q.showSignature(http.StatusUnprocessableEntity, p)
	}
	if p.Verdict, err = q.judgeSignature(p, secret, received); err != nil {
		return err
	}
	return q.showSignature(http.StatusOK, p)
}

// judgeSignature tries the body as it was typed. A browser sends each line break as two characters, whichever it was.
func (q *request) judgeSignature(p *signaturePage, secret sign.Secret, h sign.Headers) (*verdict, error) {
	try := func(body []byte) (words string, err error) {
		if !secret.IsZero() {
			return "It was made with this secret, of these bytes.", sign.Diagnose(secret, h, body, q.now)
		}
		by, err := q.Keys.CheckSignature(q.r.Context(), Ref{Caller: q.caller, ID: p.Delivery.EndpointID}, h, body)
		if by.Previous {
			return "It was made with the endpoint’s previous secret, which is replaced, and signs beside the current one until " +
				by.Until.UTC().Format("2006-01-02 15:04:05 UTC") + ".", err
		}
		return "It was made with the endpoint’s current secret.", err
	}
	body := []byte(strings.ReplaceAll(p.Body, "\r\n", "\n"))
	words, err := try(body)
	if errors.Is(err, sign.ErrNoMatch) && len(body) != len(p.Body) {
		if again, fault := try([]byte(p.Body)); !errors.Is(fault, sign.ErrNoMatch) {
			words, err = again, fault
		}
	}
	refusal, refused := errors.AsType[*sign.RefusedError](err)
	switch {
	case err != nil && !refused:
		return nil, err
	case !refused:
		return &verdict{"ok", "The signature is right", words}, nil
	case refusal.Signed:
		return &verdict{
			"hold", "The signature is right, but a receiver refuses it now",
			words + " " + sentence(reasonOf(refusal)+": "+refusal.Hint),
		}, nil
	}
	v := &verdict{"fail", "The signature is not right", sentence(reasonOf(refusal) + ": " + refusal.Hint)}
	if p.Delivery != nil && !p.sent.Gone && !bytes.Equal(body, p.sent.Body) {
		if _, err := try(p.sent.Body); signed(err) {
			v.Words = "The secret is right, but this is not the body that was sent. " + difference(p.sent.Body, body)
		}
	}
	return v, nil
}

// signed reports whether the signature fits, whatever the time.
func signed(err error) bool {
	refusal, refused := errors.AsType[*sign.RefusedError](err)
	return err == nil || refused && refusal.Signed
}

// reasonOf is the innermost reason: the acts around it are of no interest to whoever reads a page.
func reasonOf(r *sign.RefusedError) string {
	return strings.TrimPrefix(r.Reason.Error(), "verify signature: ")
}

// difference says where a body leaves what was sent.
func difference(sent, got []byte) string {
	at := 0
	for at < len(sent) && at < len(got) && sent[at] == got[at] {
		at++
	}
	near := func(b []byte) string {
		if at == len(b) {
			return "ends there"
		}
		return "goes on with " + strconv.Quote(printable(b[at:min(at+24, len(b))]))
	}
	return fmt.Sprintf("They are alike for %d of %d bytes; then what was sent %s, and this %s. "+
		"Verify the bytes as they come in, before anything parses them.", at, len(sent), near(sent), near(got))
}

// readHeaders finds the three headers in lines such as "webhook-id: …", as curl -v and most logs have them, or in a JSON
// object, as frameworks print it. The rest is passed over.
func readHeaders(text string) (sign.Headers, error) {
	found := map[string]string{}
	var object map[string]any
	if json.Unmarshal([]byte(text), &object) == nil {
		for name, value := range object {
			if list, ok := value.([]any); ok && len(list) == 1 {
				value = list[0]
			}
			found[strings.ToLower(name)] = fmt.Sprint(value)
		}
	} else {
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimLeft(line, "<> \t"), ":")
			found[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
	}
	h := sign.Headers{ID: found[wire.ID], Timestamp: found[wire.Timestamp], Signature: found[wire.Signature]}
	var missing []string
	for _, name := range []string{wire.ID, wire.Timestamp, wire.Signature} {
		if found[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return h, fmt.Errorf("there is no %s among them: paste the headers as they were received, each on a line of its own", strings.Join(missing, ", no "))
	}
	return h, nil
}
