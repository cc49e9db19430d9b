package dashboard

import (
	"bytes"
	"context"
	"database/sql"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	_ "github.com/lib/pq" // the driver
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// Every reason that can be recorded is said to a person, each in words of its own, and with what to do about it.
func TestEveryReasonHasWordsAndSaysWhatToDo(t *testing.T) {
	t.Parallel()

	file, err := parser.ParseFile(token.NewFileSet(), "../../../schema/fact/reason.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var reasons []fact.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for _, value := range spec.Values {
			if lit, ok := value.(*ast.BasicLit); ok {
				text, err := strconv.Unquote(lit.Value)
				require.NoError(t, err)
				reasons = append(reasons, fact.Reason(text))
			}
		}
		return true
	})
	require.Greater(t, len(reasons), 20, "the file of the reasons was read")
	labels := map[string]fact.Reason{}
	for _, reason := range reasons {
		a := advise(reason)
		require.NotEqual(t, string(reason), a.Title, "say %s to a person", reason)
		require.NotEmpty(t, a.Do, "say what to do about %s", reason)
		require.LessOrEqual(t, len(a.Label), 25, "%q is for a cell of a list", a.Label)
		require.Empty(t, labels[a.Label], "%s and %s must read differently", reason, labels[a.Label])
		labels[a.Label] = reason
	}
	require.Equal(t, "from_the_future", advise("from_the_future").Title, "an unknown reason is said as it is")
}

// TestAdviceFitsTheCause: of the causes of one reason, each has its own.
func TestAdviceFitsTheCause(t *testing.T) {
	t.Parallel()

	switched := 101
	for want, a := range map[string]projections.Attempt{
		"Check the certificate":  {Reason: "tls", Detail: "the TLS certificate expired 3 days ago"},
		"Plain HTTP answers":     {Reason: "tls", Detail: "the endpoint does not speak TLS on this port"},
		"Allow TLS 1.2":          {Reason: "tls", Detail: "the endpoint offers no TLS version that is still safe: 1.2 or 1.3 is needed"},
		"broke the handshake":    {Reason: "tls", Detail: "the endpoint closed the connection during the TLS handshake"},
		"something else":         {Reason: "protocol", Detail: "the answer is not valid HTTP"},
		"A WebSocket or":         {Reason: "protocol", Status: &switched, Detail: "the endpoint answered 101 Switching Protocols; a webhook is answered with 2xx"},
		"Check that the server ": {Reason: "connect", Detail: "the connection was refused"},
	} {
		require.Contains(t, adviseOn(&a).Do, want, a.Detail)
	}
}

func TestEveryStateDecisionAndOutcomeHasWords(t *testing.T) {
	t.Parallel()

	for _, s := range deliveryStates() {
		require.NotEqual(t, string(s), deliveryMark(string(s)).Words)
	}
	for _, v := range []projections.Verdict{
		projections.WasChosen, projections.TypeNotSelected, projections.EndpointIsDisabled, projections.CreatedAfterEvent,
		projections.AddressedElsewhere, projections.EndpointWasDeleted, projections.NotFannedOut, projections.UnknownEvent,
	} {
		require.NotEqual(t, string(v), verdictWords(v).Title)
		require.NotEmpty(t, verdictWords(v).Do)
	}
}

// What a stranger wrote can neither move the cursor, turn the writing, nor hide.
func TestControlCharactersAreShownAsTheirCodes(t *testing.T) {
	t.Parallel()

	for in, want := range map[string]string{
		"plain ä ж 😀\n\ttab":      "plain ä ж 😀\n\ttab",
		"\x00\x1b[31m\r\x7f":      `\x00\x1B[31m\x0D\x7F`,
		"\xff\xfe":                `\xFF\xFE`,
		"a\u202eb\u200bc":         `a\u{202E}b\u{200B}c`,
		"\u0085\u2028":            `\u{0085}\u{2028}`,
		strings.Repeat("\x00", 3): `\x00\x00\x00`,
	} {
		require.Equal(t, want, printable([]byte(in)))
	}
}

func TestNumbersAreRoundedSoThatNoFailureDisappears(t *testing.T) {
	t.Parallel()

	require.Equal(t, "100 %", percent(5, 5))
	require.Equal(t, "99.9 %", percent(999_999, 1_000_000))
	require.Equal(t, "0.1 %", percent(1, 1_000_000))
	require.Equal(t, "0.0 %", percent(0, 5))
	require.Equal(t, "–", percent(0, 0))
	require.Equal(t, "1\u202f234\u202f567", grouped(1_234_567))
	require.Equal(t, "-1\u202f234", grouped(-1234))
	require.Equal(t, "0.25 ms", milliseconds(0.25))
	require.Equal(t, "12.3 s", milliseconds(12_345))
}

func TestTimesAreSaidAsPeopleDo(t *testing.T) {
	t.Parallel()

	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "just now", 30 * time.Second: "30 s ago", -5 * time.Minute: "in 5 min", 90 * time.Minute: "1 h 30 min ago",
		2 * time.Hour: "2 h ago", 30 * time.Hour: "30 h ago", 72 * time.Hour: "3 days ago",
	} {
		require.Equal(t, want, relative(now.Add(-d), now))
	}
}

// A narrow column breaks the name of a type between its words, and nowhere else.
func TestANameBreaksBetweenItsWords(t *testing.T) {
	t.Parallel()

	require.Equal(t, []string{"question_", "response.", "upserted"}, pieces("question_response.upserted"))
	require.Equal(t, []string{"test.", "webhook"}, pieces("test.webhook"))
	require.Equal(t, []string{"https:/", "/", "a.", "example/", "b_", "c"}, pieces("https://a.example/b_c"))
	require.Equal(t, "a__b.", strings.Join(pieces("a__b."), ""))
}

// A spreadsheet must not take a cell for a formula.
func TestExportedCellsAreNoFormulas(t *testing.T) {
	t.Parallel()

	for _, cell := range []string{"=1+1", "+1", "-1", "@a", "\tx", "\rx"} {
		require.Equal(t, "'"+cell, inert(cell))
	}
	require.Equal(t, "plain", inert("plain"))
	require.Empty(t, inert(""))
}

// One failure among thousands is still to be seen, and no bar leaves its plot.
func TestBarsStayInTheirPlot(t *testing.T) {
	t.Parallel()

	bars := []projections.Bar{{Succeeded: 100_000, Failed: 1}, {Succeeded: 3, Interrupted: 2, Failed: 1}, {}}
	for _, c := range []chart{drawChart(bars, "24h", false), drawChart(bars, "24h", true), drawSparkline(bars)} {
		require.Len(t, c.Columns, 3)
		require.Empty(t, c.Columns[2].Parts)
		for _, column := range c.Columns {
			for _, part := range column.Parts {
				y, err := strconv.ParseFloat(part.Y, 64)
				require.NoError(t, err)
				height, err := strconv.ParseFloat(part.Height, 64)
				require.NoError(t, err)
				require.GreaterOrEqual(t, y, 0.0)
				require.GreaterOrEqual(t, height, 1.5)
				require.LessOrEqual(t, y+height, float64(c.Base)+1)
			}
		}
	}
	require.Equal(t, "100\u202f003 attempts succeeded, 2 failed, 99.9 %.", drawSparkline(bars).Summary)
	require.Equal(t, "No attempts in this time.", drawSparkline(nil).Summary)
}

func TestTheStepsOfAnAttemptAddUpToItsTime(t *testing.T) {
	t.Parallel()

	for _, a := range []projections.Attempt{
		{DNSUs: 10, ConnectUs: 20, TLSUs: 30, FirstByteUs: 160, TotalUs: 200},
		{DNSUs: 10, ConnectUs: 20, TotalUs: 200},
		{DNSUs: 10, TotalUs: 200, Reason: "dns"},
		{DNSUs: 10, ConnectUs: 20, TotalUs: 200, Reason: "connect"},
		{DNSUs: 10, ConnectUs: 20, TLSUs: 30, TotalUs: 200, Reason: "tls"},
		{TotalUs: 1},
		{},
	} {
		sum := 0.0
		for _, step := range drawTiming(a).Steps {
			width, err := strconv.ParseFloat(step.Width, 64)
			require.NoError(t, err)
			require.GreaterOrEqual(t, width, 0.0)
			sum += width
			if a.Reason != "" && step.Class == "wait" {
				require.Equal(t, "–", step.Took, "%s: nobody waits for a server that was not reached", a.Reason)
			}
		}
		require.InDelta(t, min(a.TotalUs, 1)*1000, sum, 1)
	}
}

func TestOnlySoManyFollowLive(t *testing.T) {
	t.Parallel()

	g := newGate(2, 3)
	one, other, third := [16]byte{1}, [16]byte{2}, [16]byte{3}
	require.True(t, g.enter(one))
	require.True(t, g.enter(one))
	require.False(t, g.enter(one))
	require.True(t, g.enter(other))
	require.False(t, g.enter(third), "all companies together, too")
	g.leave(one)
	require.True(t, g.enter(one))
	g.leave(other)
	require.Len(t, g.inside, 1)
}

func TestOnlySoManyExportAtOnce(t *testing.T) {
	t.Parallel()

	company := uuid.New()
	s := &site{exports: newGate(1, 8)}
	require.True(t, s.exports.enter(company), "one is under way")
	q := &request{site: s, w: httptest.NewRecorder(), r: httptest.NewRequest(http.MethodGet, "/deliveries/export?format=csv", nil)}
	q.caller.CompanyID = company
	var told *problem
	require.ErrorAs(t, q.export(), &told)
	require.Equal(t, http.StatusTooManyRequests, told.Status)
}

func TestAnswersToFormsAreForgotten(t *testing.T) {
	t.Parallel()

	now := time.Now()
	o := newOnce(func() time.Time { return now })
	kept, first := o.claim(onceKey{actor: "a"})
	require.True(t, first)
	again, first := o.claim(onceKey{actor: "a"})
	require.False(t, first)
	require.Same(t, kept, again)
	now = now.Add(answerLife)
	_, first = o.claim(onceKey{actor: "a"})
	require.True(t, first, "a minute later it is a new form")
	for i := range 2 * maxAnswers {
		o.claim(onceKey{actor: strconv.Itoa(i)})
	}
	require.Len(t, o.answers, maxAnswers)
	require.Len(t, o.order, maxAnswers)
}

// TestAClosedBrowserIsNoErrorOfAnExport, and a database that fails is one: the answer must not look whole.
func TestAClosedBrowserIsNoErrorOfAnExport(t *testing.T) {
	t.Parallel()

	db, err := sql.Open("postgres", "host=/nonexistent dbname=x")
	require.NoError(t, err)
	defer db.Close()
	var log bytes.Buffer
	site := &site{Config: Config{History: projections.NewReader(db), Logger: slog.New(slog.NewTextHandler(&log, nil))}}
	ctx, leave := context.WithCancel(t.Context())
	q := &request{site: site, r: httptest.NewRequestWithContext(ctx, http.MethodGet, "/deliveries/export?format=csv", http.NoBody)}
	export := func() error {
		return q.exportPages(projections.Filter{}, projections.Page[projections.Delivery]{Next: "more"}, func([]projections.Delivery) error { return nil })
	}
	require.Panics(t, func() { _ = export() })
	require.Contains(t, log.String(), "export broke off")

	log.Reset()
	leave()
	require.NoError(t, export())
	require.Empty(t, log.String())
}
