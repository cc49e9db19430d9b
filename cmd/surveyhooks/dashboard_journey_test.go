//go:build browser

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/retry"
)

// journeyWithin bounds one journey: a browser starts slowly on a busy machine.
const journeyWithin = 2 * time.Minute

// journey is a browser in front of the pages, with everything behind them running.
type journey struct {
	*pages

	url      string
	receiver *relaytest.Receiver
	metrics  *prometheus.Registry // the relay's
	ctx      context.Context      //nolint:containedctx // the browser is one

	mu       sync.Mutex
	troubles []string // what the browser complained of: scripts that threw, and what the policy refused
}

func newJourney(t *testing.T) *journey {
	t.Helper()
	j := &journey{pages: newTestPages(t), receiver: relaytest.NewReceiver(t)}
	j.clock = time.Now
	j.runAll()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		j.as(j.owner).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	j.url = server.URL
	j.browser()
	return j
}

// newJourneyToADoor is a browser in front of a running serve, where nobody is signed in, and a portal link for the owner.
func newJourneyToADoor(t *testing.T) (j *journey, link string) {
	t.Helper()
	j = &journey{pages: newTestPages(t), receiver: relaytest.NewReceiver(t)}
	s := shell{t, []string{
		"SURVEYHOOKS_DATABASE_URL=" + j.db.DSN, "SURVEYHOOKS_SEAL_KEYS=" + relaytest.Key(t, "door").Reveal(), "SURVEYHOOKS_INSECURE_ENDPOINTS=1",
	}}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	log, code := newScreen(), make(chan int, 1)
	go func() {
		args := []string{"serve", "--admin-addr", "off", "--listen-addr", "127.0.0.1:0", "--first-retry", "15m", "--log-format", "text"}
		code <- run(ctx, args, process{env: s.env, stdout: io.Discard, stderr: log})
	}()
	t.Cleanup(func() {
		stop()
		require.Equal(t, exitOK, <-code)
	})
	port := regexp.MustCompile(`web server listens" addr=127.0.0.1:(\d+)`).FindStringSubmatch(log.await(t, "web server listens"))[1]
	j.url = "http://localhost:" + port // browsers keep a session without TLS from there alone
	j.browser()
	link = s.ok("portal", "link", "--company", j.owner.CompanyID.String(), "--as", "ada@example.com", "--public-url", j.url)
	return j, strings.TrimPrefix(strings.TrimSpace(link), j.url)
}

// runAll runs the relay, the projections and the operators' jobs until the test ends.
func (j *journey) runAll() {
	j.Helper()
	j.metrics = prometheus.NewRegistry()
	sender, err := relay.New(relay.Config{
		DSN: j.db.DSN, Keys: j.keys, Metrics: j.metrics, Egress: egress.Config{Policy: egress.Policy{Insecure: true}}, Retry: retry.Policy{First: 15 * time.Minute},
	})
	require.NoError(j, err)
	projector := projections.New(projections.Config{DB: j.db.DB, DSN: j.db.DSN})
	ctx, cancel := context.WithCancel(context.WithoutCancel(j.Context()))
	var running sync.WaitGroup
	running.Go(func() { _ = sender.Run(ctx) })
	running.Go(func() { _ = projector.Run(ctx) })
	running.Go(func() { _ = j.operating.Run(ctx) })
	j.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// browserPath finds a browser, or fails with what to install: a test that passes over its browser proves nothing.
func browserPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require.Fail(t, "no browser is installed", "the tests of the pages drive one: apt-get install chromium, or install Google Chrome")
	return ""
}

func (j *journey) browser() {
	j.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browserPath(j.T)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(j.TempDir()),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.WindowSize(1280, 900),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	within, stop := context.WithTimeout(context.WithoutCancel(j.Context()), journeyWithin)
	allocator, end := chromedp.NewExecAllocator(within, options...)
	ctx, leave := chromedp.NewContext(allocator, chromedp.WithListener(j.hears))
	j.ctx = ctx
	j.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // closes the browser and waits for it: its folder is removed after this
		leave()
		end()
		stop()
	})
	_, err := chromedp.Call(ctx, log.Enable, cdp.Empty{})
	require.NoError(j, err)
}

// hears gathers what the browser complains of.
func (j *journey) hears(event any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			j.troubles = append(j.troubles, e.Entry.Text+" "+e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		j.troubles = append(j.troubles, e.ExceptionDetails.Text)
	}
}

// does acts in the browser.
func (j *journey) does(steps ...chromedp.Action[chromedp.Void]) {
	j.Helper()
	if err := chromedp.Do(j.ctx, steps...); err != nil {
		require.NoError(j, err, "the page says: %s", j.says())
	}
}

func (j *journey) says() string {
	text, err := chromedp.Run(j.ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

func (j *journey) open(path string) { j.Helper(); j.does(chromedp.Navigate(j.url + path)) }

// until asks the page again and again, since what makes the expression true may be a part of it or a new page.
func (j *journey) until(expression string, args ...any) {
	j.Helper()
	for i, arg := range args {
		text, err := json.Marshal(arg)
		require.NoError(j, err)
		args[i] = string(text)
	}
	expression = fmt.Sprintf(expression, args...)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	deadline := time.After(45 * time.Second)
	for {
		if met, err := chromedp.Run(j.ctx, chromedp.Evaluate[bool](expression)); err == nil && met {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			require.Failf(j, "the page never came to it", "%s\n\nat %s: %s", expression, j.path(), j.says())
		}
	}
}

// sees waits until the page shows the words.
func (j *journey) sees(selector, words string) {
	j.Helper()
	j.until(`[...document.querySelectorAll(%s)].some(e => e.innerText.includes(%s))`, selector, words)
}

func (j *journey) clicks(selector string) {
	j.Helper()
	j.does(chromedp.Click(chromedp.CSS(selector)))
}

func (j *journey) types(selector, text string) {
	j.Helper()
	j.does(chromedp.SendKeys(chromedp.CSS(selector), text))
}

func (j *journey) empties(selector string) {
	j.Helper()
	j.until(`(document.querySelector(%s).value = "") === ""`, selector)
}

func (j *journey) press(keys string) { j.Helper(); j.does(chromedp.KeyEvent(keys)) }

func (j *journey) path() string {
	j.Helper()
	at, err := chromedp.Run(j.ctx, chromedp.Location())
	require.NoError(j, err)
	return strings.TrimPrefix(at, j.url)
}

// untroubled holds that no script threw and that the policy of the pages refused nothing of their own.
func (j *journey) untroubled() {
	j.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	require.Empty(j, j.troubles)
}

func failing(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "database is down <script>alert(1)</script>", http.StatusInternalServerError)
}

// The main journey, through a running serve: a portal link signs in, an endpoint is made, its test fails, the failure is
// read, mended and retried, and it is delivered. The link opens nothing a second time.
func TestJourneyFromAPortalLinkOverAFailureToADelivery(t *testing.T) {
	t.Parallel()
	j, link := newJourneyToADoor(t)
	j.receiver.Answer(failing)

	j.open(link)
	j.sees("h1", "Welcome to your webhooks")
	j.clicks("button")
	j.sees("main", "Your first webhook, in three steps")
	j.clicks(`.page-head a[href="/endpoints/new"]`)
	j.types("#url", "ftp://x")
	j.sees("#url-check", "must start with https")
	j.empties("#url")
	j.types("#url", j.receiver.URL+"/hook?token=s3cret")
	j.sees("#url-check", "token=***")
	j.clicks(`button[value="test"]`)

	j.sees("h1", "Endpoint created")
	j.sees("#secret", "whsec_")
	j.sees("#test-result", "Your server failed while it handled the event")
	j.sees("#test-result", "database is down <script>alert(1)</script>")
	j.clicks(`#test-result a.button[href^="/deliveries/"]`)
	j.sees(".advice", "What to do: Look into its log")
	j.sees("#state", "1 of 1") // a test is one attempt

	j.receiver.Answer(nil)
	j.clicks(`.page-head form[data-key=r] button`)
	j.sees("#message", "Due now.")
	j.sees("#state", "Delivered")
	j.sees("#state", "1 of 6") // of the round that was asked for
	j.sees("#state", "Retried")
	arrivals := j.receiver.Arrivals()
	require.Len(t, arrivals, 2)
	require.Equal(t, arrivals[0].ID(), arrivals[1].ID(), "the same event")
	require.Equal(t, string(arrivals[0].Body), string(arrivals[1].Body), "byte for byte")
	j.untroubled()

	j.clicks(`form[action="/portal/sign-out"] button`)
	j.sees("h1", "You are signed out")
	j.open(link)
	j.clicks("button")
	j.sees("h1", "This link does not open anything")
	j.open("/endpoints")
	j.sees("h1", "Please open a new link")
}

func TestJourneyByKeyboardAlone(t *testing.T) {
	t.Parallel()
	j := newJourney(t)
	e := j.endpoint(j.receiver.URL+"/keys", "found by the keyboard")

	j.open("/endpoints")
	j.sees("tr.row", "found by the keyboard")
	j.press("?")
	j.until(`document.querySelector("#help").open`)
	j.press(kb.Escape)
	j.until(`!document.querySelector("#help").open`)
	j.press("/")
	j.until(`document.activeElement.id === "search"`)
	// The protocol sends a key and its character apart, so what the page prevents for a hand is typed here.
	j.empties("#search")
	j.press("keyboard") // typed into the field, where no letter is a shortcut
	j.until(`document.querySelector("#search").value === "keyboard"`)
	j.until(`location.search.includes("text=keyboard") && !document.querySelector(".htmx-request, .htmx-swapping, .htmx-settling")`)
	j.sees("#rows", "found by the keyboard")
	j.press(kb.Escape)
	j.until(`document.activeElement.id !== "search" && document.querySelector("#search").value === "keyboard"`)
	j.press("j")
	j.until(`!!document.querySelector("tr.row.here")`)
	// The list comes once more, as when an earlier letter's answer was late.
	j.until(`(document.querySelector("tr.row.here").dataset.old = "yes", document.querySelector("form.filters").requestSubmit(), true)`)
	j.until(`document.activeElement.matches("tr.row.here:not([data-old]) .row-link")`)
	j.press("t")
	j.sees("#test-panel", "Succeeded")
	j.press(kb.Enter) // the row's link has the focus
	j.sees("h1", "/keys")
	require.Equal(t, "/endpoints/"+e.ID.String(), j.path())

	j.open("/deliveries")
	j.sees("tr.row", "test.webhook")
	j.press("j")
	j.press("r")
	j.sees("h1", "1 delivery is due now")
	j.receiver.Await(t, 2, time.Minute)
	j.untroubled()
}

func TestJourneyFollowsDeliveriesLiveAndPausesWhileSelecting(t *testing.T) {
	t.Parallel()
	j := newJourney(t)
	e := j.endpoint(j.receiver.URL+"/live", "")
	test := func() {
		j.Helper()
		require.Equal(t, http.StatusSeeOther, j.post("/endpoints/"+e.ID.String()+"/test", url.Values{}).Code)
	}
	rows := func(n int) { j.Helper(); j.until(`document.querySelectorAll("#live-rows tr").length === %s`, n) }

	j.open("/endpoints/" + e.ID.String() + "/deliveries")
	j.sees("h1", "Deliveries")
	j.clicks(".live")
	j.sees(".live-says", "Following")
	test()
	rows(1)
	j.sees("#live-rows", "Delivered")
	j.sees(".list-bar", "Select all") // which was hidden while there was nothing
	j.sees(".list-bar", "CSV")
	j.clicks("#live-rows tr:first-child input[type=checkbox]")
	test()
	j.sees(".live-says", "Paused while you select")
	rows(1)
	j.clicks("#live-rows tr:first-child input[type=checkbox]")
	rows(2)
	j.untroubled()
}

// Scripts of the page are off; what the test itself evaluates is not the page's.
func TestJourneyWithoutJavaScript(t *testing.T) {
	t.Parallel()
	j := newJourney(t)
	_, err := chromedp.Call(j.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	require.NoError(t, err)

	j.open("/endpoints/new")
	j.until(`!document.documentElement.classList.contains("js")`)
	j.types("#url", j.receiver.URL+"/plain")
	j.types(`input[name="header_name"]`, "X-Api-Key")
	j.types(`input[name="header_value"]`, credential)
	j.clicks(`button[value="test"]`)
	j.sees("#secret", "whsec_")
	j.clicks(`#test-result .js-off a`)
	j.sees("#test-result", "Your server answered with success") // the page loads itself again until then
	j.clicks(`#test-result a.button[href^="/deliveries/"]`)
	j.sees("#state", "Delivered")
	j.clicks(`.page-head form[data-key=r] button`)
	j.sees("#message", "Due now.")
	for _, arrival := range j.receiver.Await(t, 2, time.Minute) {
		require.Equal(t, credential, arrival.Header.Get("X-Api-Key"))
	}

	j.open("/endpoints")
	j.types("#search", "plain"+kb.Enter)
	j.until(`location.search.includes("text=plain")`)
	j.clicks(`form[action$="/disable"] button`)
	j.sees("#message", "Disabled.")
	j.sees(".badge", "Disabled by you")
	j.untroubled()
}
