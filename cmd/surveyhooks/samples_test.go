package main

import (
	"context"
	"html"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/samples"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// nodeModules is where .ci/run installs Express.
const nodeModules = "../../bin/tools/node_modules"

// runnable are the samples whose language can be run here, and by which program. In CI they all have to be; elsewhere
// Go alone is sure.
func runnable(t *testing.T) map[string]string {
	t.Helper()
	programs := map[string]string{"go": "go", "node": "node", "express": "node", "python": "python3", "php": "php", "ruby": "puma"}
	require.Len(t, programs, len(samples.Names()), "every sample is run")
	for name, program := range programs {
		_, err := exec.LookPath(program)
		if name == "express" && err == nil {
			_, err = os.Stat(nodeModules + "/express")
		}
		if err != nil {
			require.Empty(t, os.Getenv("CI"), "CI runs the sample %s: %v", name, err)
			delete(programs, name)
		}
	}
	return programs
}

// TestSamplesReceiveFromTheRealRelay starts each receiver as a customer would, from the text that is given away, and
// has the relay send to it.
func TestSamplesReceiveFromTheRealRelay(t *testing.T) {
	t.Parallel()

	s, db := shellOn(t)
	s = s.with("SURVEYHOOKS_INSECURE_ENDPOINTS=1")
	ctx, stop := context.WithCancel(t.Context())
	log, code := newScreen(), make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--admin-addr", "off", "--listen-addr", "off"}, process{env: s.env, stdout: io.Discard, stderr: log})
	}()
	t.Cleanup(func() {
		stop()
		require.Equal(t, exitOK, <-code, log)
	})
	for name, program := range runnable(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			receives(t, s, db, name, program)
		})
	}
}

// receives sends a sample one event of each type, one of them twice, events that are not what they should be, and requests that are
// not ours.
func receives(t *testing.T, s shell, db *schematest.DB, name, program string) {
	t.Helper()
	s.t = t
	secret := sign.NewSecret()
	output, url := startSample(t, name, program, secret)
	refuses(t, url, secret)

	processed, told := "processed ", map[string]string{
		"conversation.started": " conversation=", "conversation.completed": " responses=1", "question_response.upserted": " answer=9",
	}
	if name == "php" { // it leaves the events to a worker
		processed, told = "took ", map[string]string{"conversation.started": "", "conversation.completed": "", "question_response.upserted": ""}
	}
	company := uuid.NewString()
	made := s.object("endpoints", "create", "--company", company, "--url", url, "--secret", secret.Reveal())
	endpoint, _ := made["id"].(string)
	survives(t, db, name, company, output)
	var first string
	for kind, more := range told {
		first, _ = s.object("publish", "--company", company, "--type", kind, "--sample")["event_id"].(string)
		output.await(t, processed+first+" "+kind+more)
	}
	test, _ := s.object("endpoints", "test", endpoint)["event_id"].(string)
	output.await(t, processed+test+" test.webhook")

	// The same event again is accepted and not worked on: what is published after it comes out after it.
	var rows []map[string]any
	require.Eventually(t, func() bool {
		rows = s.list("deliveries", "list", "--event", first, "--state", "delivered")
		return len(rows) == 1
	}, 20*time.Second, 20*time.Millisecond)
	s.ok("deliveries", "retry", number(int64(rows[0]["delivery_id"].(float64))))
	require.Eventually(t, func() bool {
		rows = s.list("deliveries", "list", "--event", first, "--state", "delivered")
		return len(rows) == 1 && rows[0]["generation"] == 2.0
	}, 20*time.Second, 20*time.Millisecond)
	last, _ := s.object("publish", "--company", company, "--type", "conversation.started", "--sample")["event_id"].(string)
	all := output.await(t, processed+last)
	require.Equal(t, 1, strings.Count(all, processed+first), all)
}

// survives has the sample sent events that are not what they should be, as a table that takes any row can hold them: each is told
// of, and what comes afterwards is worked on as ever.
func survives(t *testing.T, db *schematest.DB, name, company string, output *screen) {
	t.Helper()
	var said string
	for _, data := range []string{`{}`, `{"conversation":7,"responses":7,"response":7}`, `{"conversation":null,"responses":null,"response":null}`} {
		id := uuid.NewString()
		_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES ($1, 'conversation.completed', $2, $3)`, id, company, data)
		require.NoError(t, err)
		said = output.await(t, id)
	}
	if name != "php" { // it leaves the events to a worker
		require.Contains(t, said, "could not process ")
	}
}

// startSample saves the sample as a customer would, and runs it.
func startSample(t *testing.T, name, program string, secret sign.Secret) (output *screen, url string) {
	t.Helper()
	sample, err := samples.Get(name)
	require.NoError(t, err)
	folder := t.TempDir()
	file := filepath.Join(folder, sample.File)
	require.NoError(t, os.WriteFile(file, []byte(sample.Code), 0o600))
	args, started := []string{file}, "/webhooks/chattosurvey\n"
	switch name {
	case "go": // not go run, which would leave the receiver behind when it is killed
		built := filepath.Join(folder, "receiver")
		said, err := exec.CommandContext(t.Context(), program, "build", "-o", built, file).CombinedOutput()
		require.NoError(t, err, string(said))
		program, args = built, nil
	case "express":
		modules, err := filepath.Abs(nodeModules)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(modules, filepath.Join(folder, "node_modules")))
	case "php":
		args, started = []string{"-S", "127.0.0.1:0", file}, ") started"
	case "ruby":
		args, started = []string{"--bind", "tcp://127.0.0.1:0", file}, "Use Ctrl-C to stop"
	}
	output = newScreen()
	cmd := exec.CommandContext(t.Context(), program, args...) // killed when the test ends
	// PHP keeps what it took in TMPDIR.
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret.Reveal(), "PORT=0", "TMPDIR="+folder)
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Wait() })
	text := output.await(t, started)
	return output, regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(text) + "/webhooks/chattosurvey"
}

// refuses proves that the sample takes nothing that the secret did not sign just now.
func refuses(t *testing.T, url string, secret sign.Secret) {
	t.Helper()
	signer, err := sign.NewSigner(secret)
	require.NoError(t, err)
	stranger, err := sign.NewSigner(sign.NewSecret())
	require.NoError(t, err)
	now, id := time.Now().Unix(), uuid.NewString()
	body := []byte(`{"id":"` + id + `","event":"test.webhook","data":{}}`)
	signature := string(signer.AppendSignature(nil, id, now, body))
	for name, tt := range map[string]struct {
		id, timestamp, signature string
		body                     []byte
		want                     int
	}{
		"Good":             {id, strconv.FormatInt(now, 10), signature, body, http.StatusOK},
		"GoodInRotation":   {id, strconv.FormatInt(now, 10), "v1,AAAA " + signature, body, http.StatusOK},
		"Unsigned":         {id, strconv.FormatInt(now, 10), "", body, http.StatusUnauthorized},
		"B35_NoSignature":  {id, strconv.FormatInt(now, 10), "v1,", body, http.StatusUnauthorized},
		"B35_CutSignature": {id, strconv.FormatInt(now, 10), signature[:20], body, http.StatusUnauthorized},
		"OtherSecret":      {id, strconv.FormatInt(now, 10), string(stranger.AppendSignature(nil, id, now, body)), body, http.StatusUnauthorized},
		"OtherBody":        {id, strconv.FormatInt(now, 10), signature, append(body, ' '), http.StatusUnauthorized},
		"OtherID":          {uuid.NewString(), strconv.FormatInt(now, 10), signature, body, http.StatusUnauthorized},
		"Replay":           {id, strconv.FormatInt(now-301, 10), string(signer.AppendSignature(nil, id, now-301, body)), body, http.StatusUnauthorized},
		"NoTimestamp":      {id, "", signature, body, http.StatusUnauthorized},
		"StrangeDateWord":  {id, "now", signature, body, http.StatusUnauthorized},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(string(tt.body)))
		require.NoError(t, err)
		request.Header.Set("Content-Type", "application/json")
		request.Header["webhook-id"] = []string{tt.id}
		request.Header["webhook-timestamp"] = []string{tt.timestamp}
		request.Header["webhook-signature"] = []string{tt.signature}
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		_, _ = io.Copy(io.Discard, response.Body)
		require.NoError(t, response.Body.Close())
		require.Equal(t, tt.want, response.StatusCode, name)
	}
}

// TestTheGuideAndTheSampleAgree: what the empty page prints is where its receiver listens, and what that answers.
func TestTheGuideAndTheSampleAgree(t *testing.T) {
	t.Parallel()

	p := newTestPages(t)
	page := html.UnescapeString(p.get("/endpoints").Body.String())
	sample, err := samples.Get("node")
	require.NoError(t, err)
	host, port, err := net.SplitHostPort(samples.Addr)
	require.NoError(t, err)
	require.Contains(t, sample.Code, `"`+host+`"`)
	require.Contains(t, sample.Code, "PORT ?? "+port)
	for _, line := range []string{
		"WEBHOOK_SECRET=whsec_… PORT=" + port + " node " + sample.File,
		"curl -i -X POST http://" + samples.Addr + samples.Path + " ",
		"location = " + samples.Path + " { proxy_pass http://" + samples.Addr + "; }",
		"https://your-server.example" + samples.Path,
	} {
		require.Contains(t, page, line)
	}
	require.Contains(t, p.get("/endpoints/new").Body.String(), `placeholder="https://example.com`+samples.Path+`"`)

	if _, can := runnable(t)["node"]; can {
		_, url := startSample(t, "node", "node", sign.NewSecret())
		require.True(t, strings.HasSuffix(url, samples.Path))
		response, err := http.Post(url, "application/json", strings.NewReader("{}"))
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusUnauthorized, response.StatusCode, "as the guide promises")
	}
}

func TestSamplesAreGivenAwayWhole(t *testing.T) {
	t.Parallel()

	s := shell{t: t}
	for _, row := range s.list("samples", "list") {
		name, _ := row["name"].(string)
		code := s.ok("samples", "print", name)
		for _, word := range []string{"WEBHOOK_SECRET", "whsec_", samples.Path, "conversation.completed"} {
			if name == "php" && word == "conversation.completed" {
				continue // it leaves the events to a worker
			}
			require.Contains(t, code, word, name)
		}
	}
	got := s.run("samples", "print", "cobol")
	require.Equal(t, exitNotFound, got.code)
	require.Contains(t, got.stderr, `"python"`)
}
