package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// What must not be found where it does not belong. The secrets and tokens are made as it runs.
const (
	plantedPhone      = "+15550917343"
	plantedName       = "Plantagenet"
	plantedCredential = "planted-credential-92"
	plantedToken      = "planted-token-18" // of a URL
	plantedAddress    = "169.254.169.254"
)

// planting is a served database with canaries in it, and everything that was said about them.
type planting struct {
	shell

	db    *schematest.DB
	relay served
	web   string
	said  strings.Builder
	leaks []string
}

// TestI10NothingPlantedIsInWhatServeLeavesBehind sends what succeeds and what fails, with everything logged, calls the
// API, looks at the pages, runs the verbs, and then searches log, metrics, answers, exports, journal and history.
func TestI10NothingPlantedIsInWhatServeLeavesBehind(t *testing.T) {
	t.Parallel()

	p := plant(t)
	p.callTheAPI()
	p.deliver()
	p.visitThePages()
	p.runTheVerbs()
	for _, path := range []string{"/metrics", "/readyz?verbose", "/version"} {
		_, text := get(t, p.relay.addr+path)
		p.said.WriteString(text)
	}
	require.Equal(t, exitOK, p.relay.stop(), p.relay.log)
	searched := p.said.String() + p.relay.log.String() + p.tables()

	for _, sign := range []string{"delivery.attempted", "surveyhooks_attempts_total", `"Authorization": "***"`, "attempt.failed", "delivery_id,event_id", `"code":"`} {
		require.Contains(t, searched, sign, "the search covers it")
	}
	require.Len(t, p.leaks, 5+1+3+1+1+1)
	for _, leak := range p.leaks {
		for _, form := range []string{leak, fmt.Sprintf("%x", leak), base64.StdEncoding.EncodeToString([]byte(leak)), url.QueryEscape(leak)} {
			if at := strings.Index(searched, form); at >= 0 {
				require.Fail(t, "leaked", "%s in: …%s…", form, searched[max(0, at-300):min(len(searched), at+100)])
			}
		}
	}
}

// plant starts serve with three endpoints: one that is well, one that fails, and one that nobody listens for.
func plant(t *testing.T) *planting {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+plantedCredential || strings.HasPrefix(r.URL.Path, "/bad") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(receiver.Close)
	db, key := schematest.New(t), relaytest.Key(t, "planted")
	p := &planting{db: db, shell: shell{t, []string{
		"SURVEYHOOKS_DATABASE_URL=" + db.DSN, "SURVEYHOOKS_SEAL_KEYS=" + key.Reveal(), "SURVEYHOOKS_INSECURE_ENDPOINTS=1",
	}}}
	p.leaks = []string{plantedPhone, plantedName, plantedCredential, plantedToken, plantedAddress, strings.TrimPrefix(key.Reveal(), "planted:")}
	for _, base := range []string{receiver.URL + "/good", receiver.URL + "/bad", "http://127.0.0.1:1/dead"} {
		made := p.object("endpoints", "create", "--company", company, "--url", base+"?token="+plantedToken,
			"--header", "Authorization: Bearer "+plantedCredential)
		p.leaks = append(p.leaks, strings.TrimPrefix(made["secret"].(string), "whsec_"))
	}
	p.relay = p.serve("--listen-addr", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug", "--first-retry", "1ms", "--retries", "2")
	require.Eventually(t, func() bool {
		for line := range strings.Lines(p.relay.log.String()) {
			var entry struct{ Msg, Addr string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "web server listens" {
				p.web = "http://" + entry.Addr
			}
		}
		return p.web != ""
	}, 20*time.Second, 10*time.Millisecond)
	return p
}

// ask sends a request and keeps the answer, to be searched.
func (p *planting) ask(want int, line, body string, headers ...string) {
	p.t.Helper()
	got := p.send(line, body, headers...)
	require.Equal(p.t, want, got.status, "%s: %s", line, got.body)
	p.said.WriteString(got.body)
}

func (p *planting) send(line, body string, headers ...string) reply {
	p.t.Helper()
	method, path, _ := strings.Cut(line, " ")
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.web+path, strings.NewReader(body))
	require.NoError(p.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(p.t, err)
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	require.NoError(p.t, err)
	return reply{w.StatusCode, w.Header, string(text)}
}

// callTheAPI makes good calls and bad ones. The list of endpoints alone shows URLs whole, to who may change them.
func (p *planting) callTheAPI() {
	p.t.Helper()
	key, _ := p.object("api-keys", "create", "--name", "app", "--company", company)["token"].(string)
	p.leaks = append(p.leaks, key)
	base := "/v1/companies/" + company
	auth := []string{"Authorization", "Bearer " + key, "Content-Type", "application/json"}
	event := `{"type":"planted.type","data":{"name":"` + plantedName + `","phone":"` + plantedPhone + `"}}`
	p.ask(202, "POST "+base+"/events", event, append(auth, "Idempotency-Key", "one")...)
	p.ask(401, "GET "+base+"/events?key="+key, "")
	p.ask(401, "GET "+base+"/events", "", "Authorization", "Bearer "+key+"x")
	p.ask(404, "GET /v1/"+key, "", auth...)
	p.ask(404, "GET /v1/companies/"+strings.Repeat("1", 8)+company[8:]+"/events?type="+plantedToken, "", auth...)
	p.ask(400, "GET "+base+"/events?from="+plantedToken+"&limit=-1", "", auth...)
	p.ask(400, "GET "+base+"/events?cursor="+plantedToken, "", auth...)
	for status, body := range map[int]string{
		400: `{"phone":"` + plantedPhone + `",`,
		415: `phone=` + plantedPhone,
		422: `{"url":"https://` + plantedAddress + `/?token=` + plantedToken + `","headers":{"Host":"` + plantedCredential + `"}}`,
	} {
		with := auth
		if status == 415 {
			with = []string{auth[0], auth[1], "Content-Type", "text/plain"}
		}
		p.ask(status, "POST "+base+"/endpoints", body, with...)
	}
	for _, list := range []string{"/events", "/deliveries", "/attempts", "/health", "/audit"} {
		p.ask(200, "GET "+base+list, "", auth...)
	}
}

// deliver publishes an event with personal data and waits until everything is over.
func (p *planting) deliver() {
	p.t.Helper()
	data := outbox.NewTestWebhook(uuid.MustParse(company))
	data.Respondent.FirstName, data.Respondent.Phone = plantedName, plantedPhone
	text, err := json.Marshal(data)
	require.NoError(p.t, err)
	got := p.feed(string(text), "publish", "--company", company, "--type", "test.webhook", "--data", "-")
	require.Equal(p.t, exitOK, got.code, got.stderr)
	p.said.WriteString(got.stdout + got.stderr)
	require.Eventually(p.t, func() bool {
		return len(p.list("deliveries", "list", "--state", "delivered")) == 1 && len(p.list("deliveries", "list", "--state", "exhausted")) == 2
	}, 20*time.Second, 20*time.Millisecond, "%s", p.relay.log)
}

// visitThePages signs in by a link and looks at lists, exports and errors. A delivery's own page shows what was sent.
func (p *planting) visitThePages() {
	p.t.Helper()
	link, err := url.Parse(strings.TrimSpace(p.ok("portal", "link", "--company", company, "--as", "ada")))
	require.NoError(p.t, err)
	p.leaks = append(p.leaks, link.Query().Get("token"))
	w := p.send("POST "+link.Path, link.RawQuery, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	require.Equal(p.t, http.StatusSeeOther, w.status)
	p.said.WriteString(w.body)
	cookie, _, _ := strings.Cut(w.header.Get("Set-Cookie"), ";")
	_, session, _ := strings.Cut(cookie, "=")
	p.leaks = append(p.leaks, session)
	signedIn := []string{"Cookie", cookie}
	form := []string{"Cookie", cookie, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin"}
	id, _ := p.list("endpoints", "list")[0]["id"].(string)
	for _, path := range []string{
		"/endpoints", "/endpoints/" + id, "/endpoints/" + id + "/rotate", "/deliveries", "/event-types",
		"/deliveries/export?format=csv", "/deliveries/export?format=jsonl",
	} {
		p.ask(200, "GET "+path, "", signedIn...)
	}
	p.ask(404, "GET /endpoints/1?token="+plantedToken, "", signedIn...)
	p.ask(400, "GET /deliveries?cursor="+plantedToken, "", signedIn...)
	p.ask(403, "POST "+link.Path, link.RawQuery, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	p.ask(403, "POST /endpoints/"+id+"/disable", "token="+plantedToken, signedIn...)
	p.ask(409, "POST /endpoints/"+id+"/rotate", "version=99", form...)
}

// runTheVerbs runs those that show lists, and some that are refused.
func (p *planting) runTheVerbs() {
	p.t.Helper()
	for _, verb := range []string{
		"events list", "deliveries list", "attempts list", "attempts list -o json", "endpoints list", "keys status", "doctor",
		"config show", "api-keys list -o json", "sessions list --company " + company + " -o json", "sessions trail -o json", "audit",
	} {
		p.said.WriteString(p.ok(strings.Fields(verb)...))
	}
	for _, verb := range []string{
		"endpoints create --company " + company + " --url https://" + plantedAddress + "/?token=" + plantedToken,
		"endpoints create --company " + company + " --url ftp://example.com/ --header Host:" + plantedCredential,
		"endpoints create --company " + company + " --url http://example.com/ --secret " + plantedCredential,
		"endpoints delete " + p.list("endpoints", "list")[0]["id"].(string),
	} {
		got := p.run(strings.Fields(verb)...)
		require.Equal(p.t, exitUsage, got.code, got.stderr)
		p.said.WriteString(got.stdout + got.stderr)
	}
}

// tables are all rows but those of the outbox, where events belong, and of endpoints, where URLs do.
func (p *planting) tables() string {
	p.t.Helper()
	rows, err := p.db.Owner.QueryContext(p.t.Context(), `SELECT relname FROM pg_catalog.pg_class
 WHERE relnamespace = 'webhooks'::regnamespace AND relkind IN ('r', 'v') AND relname !~ '^(outbox|endpoints$)'`)
	require.NoError(p.t, err)
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var table string
		require.NoError(p.t, rows.Scan(&table))
		tables = append(tables, table)
	}
	require.NoError(p.t, rows.Err())
	for _, table := range []string{"attempt_history", "attempts_default", "idempotency_keys", "endpoint_secrets", "access_trail", "sessions"} {
		require.Contains(p.t, tables, table)
	}
	var all strings.Builder
	for _, table := range tables {
		var text string
		require.NoError(p.t, p.db.Owner.QueryRowContext(p.t.Context(),
			`SELECT coalesce(string_agg(t::text, chr(10)), '') FROM webhooks.`+table+` t`).Scan(&text), table)
		all.WriteString(text + "\n")
	}
	return all.String()
}
