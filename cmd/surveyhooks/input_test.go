package main

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/egresstest"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// The door of the pages: each kind of bad URL, told beside the field with what was typed, and nothing stored.
func TestBadURLIsRefusedOnThePages(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	var err error
	p.handler, err = newPages(pagesOptions{db: p.pool, policy: egresstest.Policy(), recovery: p.recovery})
	require.NoError(t, err)
	for _, bad := range egresstest.BadURLs() {
		t.Run(bad.Name, func(t *testing.T) {
			t.Parallel()
			q := *p
			q.T = t
			form := url.Values{"url": {bad.URL}, "events": {"all"}, "version": {"1"}}
			words := html.EscapeString(bad.Words[1:]) // it may begin the sentence
			for _, path := range []string{"/endpoints", "/endpoints/" + e.ID.String()} {
				w := q.post(path, form)
				require.Equal(t, http.StatusUnprocessableEntity, w.Code)
				requirePage(t, path, w.Body.String())
				require.Contains(t, w.Body.String(), words)
				require.Contains(t, w.Body.String(), `id="url-fault"`)
			}
			require.Contains(t, q.get("/endpoints/check?url="+url.QueryEscape(bad.URL)).Body.String(), words, "while it is typed")
			list, _, err := q.store.List(t.Context(), endpoint.Filter{Scope: endpoint.Company(q.owner.CompanyID)})
			require.NoError(t, err)
			require.Equal(t, []endpoint.Endpoint{e}, list)
		})
	}
}

func TestB22_ThePagesTakeAURLOnce(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	p.endpoint("https://example.com/taken", "")
	for _, same := range []string{"https://example.com/taken", "https://EXAMPLE.com:443/taken"} {
		w := p.post("/endpoints", url.Values{"url": {same}, "events": {"all"}})
		require.Equal(t, http.StatusUnprocessableEntity, w.Code)
		require.Contains(t, w.Body.String(), "Another endpoint has this URL")
	}
	list, _, err := p.store.List(t.Context(), endpoint.Filter{Scope: endpoint.Company(p.owner.CompanyID)})
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// Only the form to change a URL shows it whole.
func TestB24_PagesMaskTheTokensOfAURL(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook?token=planted-17", "")
	event := uuid.New()
	p.told(p.facts(story{endpoint: e, id: 7, event: event, at: p.now, outcomes: []told{refused()}})...)
	path := "/endpoints/" + e.ID.String()
	for _, page := range []string{"/endpoints", path, path + "/rotate", path + "/delete", path + "/recover?since=2026-01-01T00:00:00Z", "/deliveries", "/events/" + event.String(), "/event-types"} {
		require.NotContains(t, p.get(page).Body.String(), "planted-17", page)
	}
	require.Contains(t, p.get(path+"/edit").Body.String(), "planted-17", "it cannot be changed unseen")
	require.NotContains(t, p.do(p.viewer(), http.MethodGet, path+"/edit", nil).Body.String(), "planted-17")
}

func TestB32_RotatingAgainOnThePagesEndsTheOldestKey(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	path := "/endpoints/" + e.ID.String()
	for version := range 3 {
		require.Equal(t, http.StatusOK, p.post(path+"/rotate", url.Values{"version": {fmt.Sprint(version + 1)}}).Code)
	}
	var active int
	require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.endpoint_secrets
		WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > now())`, e.ID).Scan(&active))
	require.Equal(t, 2, active)
	for _, page := range []string{"/endpoints", path, path + "/edit", path + "/rotate"} { // B33: shown in one answer alone
		require.NotRegexp(t, `whsec_[^•]`, p.get(page).Body.String(), page)
	}
}

// What an event says is shown where one event is looked at, and neither in lists nor in what is exported.
func TestB47_ListsAndExportsHoldNoPersonalData(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	event := uuid.New()
	p.outboxed(event, outbox.ConversationCompletedType, `{"respondent":{"name":"Plantagenet","phone":"+15550917342"}}`)
	p.told(p.facts(story{endpoint: e, id: 7, event: event, at: p.now, outcomes: []told{refused()}})...)
	for _, page := range []string{
		"/endpoints", "/endpoints/" + e.ID.String(), "/deliveries", "/endpoints/" + e.ID.String() + "/deliveries",
		"/deliveries/export?format=csv", "/deliveries/export?format=jsonl",
	} {
		w := p.get(page)
		require.Equal(t, http.StatusOK, w.Code, page)
		require.NotContains(t, w.Body.String(), "Plantagenet", page)
		require.NotContains(t, w.Body.String(), "15550917342", page)
	}
	require.Contains(t, p.get("/deliveries/7/request").Body.String(), "Plantagenet")
}

// A company that a form names is not believed of anybody who has one.
func TestB55_TheCompanyOfAFormIsNotBelieved(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	other := uuid.New()
	w := p.post("/endpoints", url.Values{
		"url": {"https://example.com/hook"}, "events": {"all"}, "company": {other.String()}, "company_id": {other.String()}, "tenant_id": {other.String()},
	}, "X-Company-ID", other.String())
	require.Equal(t, http.StatusCreated, w.Code)
	for company, want := range map[uuid.UUID]int{p.owner.CompanyID: 1, other: 0} {
		list, _, err := p.store.List(t.Context(), endpoint.Filter{Scope: endpoint.Company(company)})
		require.NoError(t, err)
		require.Len(t, list, want)
	}
}

// What is over for good, or another's, is not sent again.
func TestB57_ThePagesSendAgainOnlyWhatMayBe(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	event := uuid.New()
	p.outboxed(event, outbox.ConversationStartedType, `{}`)
	facts := p.facts(story{endpoint: e, id: 7, event: event, kind: outbox.ConversationStartedType, at: p.now, outcomes: []told{refused()}})
	p.told(append(facts, fact.Fact{Name: fact.DeliveryCancelled, CompanyID: e.CompanyID, Body: fact.Delivery{
		DeliveryID: 7, EndpointID: e.ID, EventID: event, Generation: 1, State: fact.Cancelled, Actor: "test", Reason: fact.ByRequest,
	}})...)
	require.Equal(t, http.StatusConflict, p.post("/deliveries/7/retry", url.Values{}).Code)
	require.Equal(t, http.StatusNotFound, p.post("/deliveries/8/retry", url.Values{}).Code)
	var pending int
	require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.pending`).Scan(&pending))
	require.Zero(t, pending)
}

// count asks the shell's database.
func (s shell) count(query string) (n int) {
	s.t.Helper()
	_, dsn, _ := strings.Cut(s.env[0], "=")
	db, err := sql.Open("postgres", dsn)
	require.NoError(s.t, err)
	defer db.Close()
	require.NoError(s.t, db.QueryRowContext(s.t.Context(), query).Scan(&n))
	return n
}

// The door of the command line for events: the exact words, and nothing in the outbox.
func TestBadEventIsRefusedAtTheCommandLine(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	good := []string{"--company", company, "--type", "a", "--data", "-"}
	with := func(name, value string) []string {
		return append(append([]string{}, good...), "--"+name, value)
	}
	for name, tt := range map[string]struct {
		args        []string
		data, words string
	}{
		"B36_InvalidJSON":   {good, `{"a":`, "data is not valid JSON: want a JSON object"},
		"B36_NUL":           {good, "{\"a\":\"\x00\"}", "data is not valid JSON"},
		"B36_NotUTF8":       {good, "{\"a\":\"\xff\"}", "data is not valid UTF-8: want a JSON object in UTF-8"},
		"B38_Empty":         {good, "", "data is empty: want a JSON object"},
		"B38_Null":          {good, "null", "data is JSON but no object: want a JSON object"},
		"B38_Scalar":        {good, `"a"`, "data is JSON but no object"},
		"B38_Array":         {good, "[{}]", "data is JSON but no object"},
		"B39_Metadata":      {good, `{"metadata":{"attempt":1}}`, "data.metadata is given: want no such key"},
		"MembersMissing":    {with("type", "test.webhook"), `{"survey":{"name":"Exit survey"}}`, "data.survey.id is missing: want a UUID"},
		"OtherCompany":      {good, `{"survey":{"company_id":"01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20"}}`, "data.survey.company_id is another company's: want the event's company_id"},
		"B40_NoUUID":        {with("id", "a.b"), "{}", "want a UUID such as"},
		"B40_LineBreak":     {with("id", "01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20\r\n"), "{}", "want a UUID such as"},
		"B40_Braces":        {with("id", "{01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20}"), "{}", "want a UUID such as"},
		"B40_TooLong":       {with("id", "01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f2000"), "{}", "want a UUID such as"},
		"B42_WrongCase":     {with("type", "Conversation.Started"), "{}", `type is "Conversation.Started": want 1 to 64 of a-z 0-9 _ .`},
		"B42_LineBreak":     {with("type", "a\r\nX-Injected: 1"), "{}", `type is "a\r\nX-Injected: 1"`},
		"B42_TenKilobytes":  {with("type", strings.Repeat("a", 10<<10)), "{}", "want 1 to 64 of a-z 0-9 _ ."},
		"B43_OneByteTooBig": {good, `{"a":"` + strings.Repeat("x", outbox.MaxDataBytes-7) + `"}`, "data has 262145 bytes: want at most 262144"},
		"B43_TenMegabytes":  {good, `{"a":"` + strings.Repeat("x", 10<<20) + `"}`, "want at most 262144"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shell{t, s.env}
			got := s.feed(tt.data, append([]string{"publish"}, tt.args...)...)
			require.Equal(t, exitUsage, got.code, got.stderr)
			require.Contains(t, got.stderr, tt.words)
			require.Less(t, len(got.stderr), 1000, "it does not echo what was sent")
			require.Empty(t, got.stdout)
			require.Zero(t, s.count(`SELECT count(*) FROM webhooks.outbox`))
		})
	}
}

// The largest data, from a file; an id in capitals is the same id.
func TestGoodEventsAtTheEdgesAreTaken(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	file := filepath.Join(t.TempDir(), "data.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"a":"`+strings.Repeat("x", outbox.MaxDataBytes-8)+`"}`), 0o600))
	id := uuid.NewString()
	made := s.object("publish", "--company", company, "--type", "a", "--data", file, "--id", strings.ToUpper(id))
	require.Equal(t, id, made["event_id"])
}

// The door of the command line for what an endpoint has beside its URL, and for lists.
func TestBadInputIsRefusedAtTheCommandLine(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	create := func(args ...string) []string {
		return append([]string{"endpoints", "create", "--company", company, "--url", "https://example.com/new"}, args...)
	}
	made := s.object("endpoints", "create", "--company", company, "--url", "https://example.com/taken")
	id, _ := made["id"].(string)
	for name, tt := range map[string]struct {
		args  []string
		code  int
		words string
	}{
		"B22_SameURL":        {[]string{"endpoints", "create", "--company", company, "--url", "https://EXAMPLE.com/taken"}, exitUsage, "url: "},
		"B25_LineBreak":      {create("--header", "X-Key: hunter2\r\nHost: b"), exitUsage, "X-Key has a character that is not printable ASCII"},
		"B26_Space":          {create("--header", "X Key: hunter2"), exitUsage, `begins with "X" has a character that no name has`},
		"B27_Host":           {create("--header", "Host: hunter2"), exitUsage, "header Host is set by the relay or by HTTP itself"},
		"B27_Forwarded":      {create("--header", "x-forwarded-for: hunter2"), exitUsage, "header x-forwarded-for is set by the relay or by HTTP itself"},
		"B28_TooLarge":       {create("--header", "X-Key: "+strings.Repeat("hunter2", 1000)), exitUsage, "at most 4096 bytes; these have 7005"},
		"B30_NoPrefix":       {create("--secret", "hunter2hunter2"), exitUsage, `--secret`},
		"B30_Only23Bytes":    {create("--secret", "whsec_"+strings.Repeat("hunter2h", 3)+"hunter0="), exitUsage, "24 to 64 bytes, it is 23"},
		"B30_Unpadded":       {create("--secret", "whsec_"+strings.Repeat("hunter2h", 4)+"hu"), exitUsage, "padded standard base64"},
		"B30_AtRotation":     {[]string{"endpoints", "rotate-secret", id, "--secret", "hunter2hunter2"}, exitUsage, "--secret"},
		"B54_NoSuchID":       {[]string{"endpoints", "get", uuid.NewString()}, exitNotFound, "not known"},
		"B57_NoSuchDelivery": {[]string{"deliveries", "retry", "42"}, exitNotFound, "42"},
		"B58_OldVersion":     {[]string{"endpoints", "update", id, "--description", "x", "--if-version", "9"}, exitFailure, "read it again"},
		"B59_NegativeLimit":  {[]string{"events", "list", "--limit=-1"}, exitUsage, "want 1 to 500"},
		"B59_HugeLimit":      {[]string{"deliveries", "list", "--limit", "1000000000"}, exitUsage, "want 1 to 500"},
		"B59_Cursor":         {[]string{"attempts", "list", "--cursor", "'; DROP TABLE webhooks.outbox; --"}, exitUsage, "cursor"},
		"B59_NegativeRate":   {create("--rate-limit", "-1"), exitUsage, "from 1 to 1000"},
		"B59_HighRate":       {create("--rate-limit", "1001"), exitUsage, "from 1 to 1000"},
		"B59_HalfARate":      {create("--rate-limit", "1.5"), exitUsage, "want a whole number from 1 to 1000, or none"},
		"B59_HugeRate":       {[]string{"endpoints", "update", id, "--rate-limit", strings.Repeat("9", 40)}, exitUsage, "want a whole number from 1 to 1000, or none"},
		"B59_NoRate":         {[]string{"endpoints", "update", id, "--rate-limit", ""}, exitUsage, "want a whole number from 1 to 1000, or none"},
		"B61_EscapeSequence": {create("--description", "a\x1b[2Jb"), exitUsage, "use plain text without control characters"},
		"B61_NoteOfTwoLines": {[]string{"endpoints", "disable", id, "--note", "a\nb"}, exitUsage, "note: use one line of plain text"},
		"B61_LongNote":       {[]string{"endpoints", "disable", id, "--note", strings.Repeat("é", 201)}, exitUsage, "use at most 200 characters; these are 201"},
		"B61_TooLong":        {create("--description", strings.Repeat("é", 501)), exitUsage, "use at most 500 characters; these are 501"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shell{t, s.env}
			got := s.run(tt.args...)
			require.Equal(t, tt.code, got.code, got.stderr)
			require.Contains(t, got.stderr, tt.words)
			require.NotContains(t, got.stderr, "hunter2", "no secret is told, not even a bad one")
			require.Empty(t, got.stdout)
			require.Equal(t, 1, s.count(`SELECT count(*) FROM webhooks.journal`), "nothing was done but to make the one endpoint")
			require.Equal(t, 1, s.count(`SELECT count(*) FROM webhooks.endpoints WHERE version = 1`))
		})
	}
}

// A filter is a value, whatever characters it has; of a closed set it is one of its members.
func TestB59_FiltersOfListsAreValues(t *testing.T) {
	t.Parallel()

	s, _, _ := withFailures(t)
	require.Len(t, s.list("deliveries", "list", "--reason", "timeout", "--type", "conversation.started"), 3)
	for _, odd := range []string{"%", "'", "timeou_", `\`, "timeout' OR 1=1 --"} {
		require.Equal(t, exitUsage, s.run("deliveries", "list", "--reason", odd).code, odd)
		require.Empty(t, s.list("deliveries", "list", "--type", odd), odd)
	}
}

// What a receiver or a customer wrote does not steer the terminal; JSON has it whole.
func TestB49_TablesAreTextOnly(t *testing.T) {
	t.Parallel()

	for in, want := range map[string]string{
		"plain — ü 🙂":          "plain — ü 🙂",
		"\x1b[31mred\x1b[0m":   " [31mred [0m",
		"a\r\nb\tc\x00d\u009b": "a  b c d ",
		"ab\u202edcba\u2066x":  "ab dcba x",
	} {
		require.Equal(t, want, oneLine(in))
	}
	require.Equal(t, "a�b", oneLine("a\xffb"))
}
