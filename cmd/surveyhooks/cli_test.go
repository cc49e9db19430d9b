package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

const company = "5b2f4f0e-9b1d-4c0f-8f4e-2a6c5f7f8d10"

// answer is what one run left behind.
type answer struct {
	code           int
	stdout, stderr string
}

// shell runs command lines in this process, as a shell with an environment of its own would.
type shell struct {
	t   *testing.T
	env []string
}

// newShell has a database of its own.
func newShell(t *testing.T) shell {
	t.Helper()
	s, _ := shellOn(t)
	return s
}

// shellOn also gives the database.
func shellOn(t *testing.T) (shell, *schematest.DB) {
	t.Helper()
	db := schematest.New(t)
	return shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + db.DSN, "SURVEYHOOKS_SEAL_KEYS=" + relaytest.Key(t, "shell").Reveal()}}, db
}

func (s shell) with(env ...string) shell {
	return shell{s.t, append(append([]string{}, s.env...), env...)}
}

func (s shell) feed(stdin string, args ...string) answer {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(s.t.Context(), args, process{env: s.env, stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr})
	return answer{code, stdout.String(), stderr.String()}
}

func (s shell) run(args ...string) answer {
	s.t.Helper()
	return s.feed("", args...)
}

// ok is the standard output of a run that has to succeed.
func (s shell) ok(args ...string) string {
	s.t.Helper()
	got := s.run(args...)
	require.Equal(s.t, exitOK, got.code, got.stderr)
	return got.stdout
}

// object is the JSON object that a run printed.
func (s shell) object(args ...string) map[string]any {
	s.t.Helper()
	var value map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(s.ok(append(args, "-o", "json")...)), &value))
	return value
}

// list is the JSON array that a run printed.
func (s shell) list(args ...string) []map[string]any {
	s.t.Helper()
	var value []map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(s.ok(append(args, "-o", "json")...)), &value))
	require.NotNil(s.t, value, "an empty list is [], never null")
	return value
}

func TestVersionIsAVerbAndAFlag(t *testing.T) {
	t.Parallel()

	s := shell{t: t}
	require.Equal(t, "surveyhooks version "+readBuild().Version+"\n", s.ok("--version"))
	require.Equal(t, readBuild().Version, s.object("version")["version"])
}

func TestUsageIsTwoAndSaysWhatWouldBeRight(t *testing.T) {
	t.Parallel()

	// No database listens here: usage must be refused before one is asked.
	nowhere := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=host=/nonexistent dbname=x"}}
	tests := map[string]struct {
		args []string
		env  []string
		want string
	}{
		"NoVerb":            {[]string{}, nil, "Available Commands"},
		"UnknownVerb":       {[]string{"endpints"}, nil, "did you mean endpoints?"},
		"CutOffChild":       {[]string{"endpoints", "rotate"}, nil, "did you mean rotate-secret?"},
		"NoDuration":        {[]string{"partitions", "list", "--retention", "yesterday"}, nil, "want a length of time such as 90s, 2h"},
		"UnknownReason":     {[]string{"deliveries", "list", "--reason", "tiemout"}, nil, "--reason is \"tiemout\""},
		"NoStatus":          {[]string{"attempts", "list", "--status", "99"}, nil, "want an HTTP status of 100 to 599"},
		"NoAddress":         {[]string{"healthcheck", "--admin-addr", "nope"}, nil, "want host:port"},
		"UnknownChild":      {[]string{"endpoints", "lst"}, nil, "did you mean list?"},
		"UnknownFlag":       {[]string{"version", "--verbos"}, nil, "unknown flag"},
		"UnknownVariable":   {[]string{"version"}, []string{"SURVEYHOOKS_CONCURENCY=3"}, "did you mean SURVEYHOOKS_CONCURRENCY?"},
		"ServiceLink":       {[]string{"version"}, []string{"SURVEYHOOKS_SERVICE_PORT=80"}, "enableServiceLinks: false"},
		"BadVariable":       {[]string{"serve"}, []string{"SURVEYHOOKS_CONCURRENCY=many"}, "SURVEYHOOKS_CONCURRENCY"},
		"TwoURLs":           {[]string{"version"}, []string{"SURVEYHOOKS_DATABASE_URL_FILE=x"}, "want one of them"},
		"BadOutput":         {[]string{"version", "-o", "yaml"}, nil, "want table, json or jsonl"},
		"BadUUIDArgument":   {[]string{"endpoints", "get", "12"}, nil, "want a UUID such as"},
		"BadUUIDFlag":       {[]string{"endpoints", "list", "--company", "x"}, nil, "want a UUID such as"},
		"MissingFlag":       {[]string{"endpoints", "create", "--company", company}, nil, `"url" not set`},
		"MissingArgument":   {[]string{"endpoints", "get"}, nil, "takes 1 argument, not 0"},
		"BadDelivery":       {[]string{"deliveries", "get", "-1x"}, nil, "unknown shorthand"},
		"BadDeliveryNumber": {[]string{"deliveries", "get", "x"}, nil, "want a number"},
		"BadState":          {[]string{"deliveries", "list", "--state", "lost"}, nil, "want pending, retrying"},
		"B59_Limit":         {[]string{"events", "list", "--limit", "0"}, nil, "want 1 to 500"},
		"B30_Secret":        {[]string{"endpoints", "create", "--company", company, "--url", "https://a.example/", "--secret", "x"}, nil, "--secret"},
		"NothingToUpdate":   {[]string{"endpoints", "update", company}, nil, "at least one of the flags"},
		"NoFile":            {[]string{"publish", "--company", company, "--type", "a", "--data", "/nonexistent"}, nil, "read --data"},
		"BadServe":          {[]string{"serve", "--concurrency", "-1", "--admin-addr", "9090", "--log-level", "loud"}, nil, "want debug, info, warn or error"},
		"BadDSN":            {[]string{"endpoints", "list", "--database-url", "postgres://u:hunter2@%zz/"}, nil, "cannot be read"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got := shell{t, append(nowhere.env, tt.env...)}.run(tt.args...)
			require.Equal(t, exitUsage, got.code, got.stderr)
			require.Contains(t, got.stderr, tt.want)
			require.Empty(t, got.stdout)
			require.NotContains(t, got.stderr, "hunter2")
		})
	}
}

func TestUnreachableDatabaseIsFour(t *testing.T) {
	t.Parallel()

	s := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=postgres://u:hunter2@127.0.0.1:1/x?sslmode=disable"}}
	for _, verb := range []string{"endpoints list", "migrate status", "events list", "doctor", "projections status"} {
		got := s.run(strings.Fields(verb)...)
		require.Equal(t, exitUnavailable, got.code, got.stderr)
		require.NotContains(t, got.stdout+got.stderr, "hunter2")
	}
}

func TestNoDatabaseNamesWhatToGive(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir()) // no private cluster runs in it
	t.Setenv("HOME", t.TempDir())

	got := shell{t: t}.run("endpoints", "list")
	require.Equal(t, exitUnavailable, got.code)
	require.Contains(t, got.stderr, "SURVEYHOOKS_DATABASE_URL")
}

func TestEveryVerbHelpsWithTwoExamplesAndItsVariables(t *testing.T) {
	t.Parallel()

	root := newRootCommand(&app{process: process{stdout: io.Discard, stderr: io.Discard}})
	everyCommand(root, func(cmd *cobra.Command) {
		if cmd.Hidden || cmd.Name() == "completion" || cmd.HasParent() && cmd.Parent().Name() == "completion" {
			return
		}
		require.Len(t, strings.Split(strings.TrimSpace(cmd.Example), "\n"), 2, cmd.CommandPath())
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
	})
	got := shell{t: t}.run("serve", "--help")
	require.Equal(t, exitOK, got.code)
	for _, variable := range []string{"SURVEYHOOKS_DATABASE_URL_FILE", "SURVEYHOOKS_INSECURE_ENDPOINTS", "SURVEYHOOKS_ADMIN_ADDR", "SURVEYHOOKS_OUTPUT"} {
		require.Contains(t, got.stdout, "$"+variable)
	}
}

// TestReadmeNamesEveryCommandThatThereIs reads the table of commands, `a b\|c` being a b and a c.
func TestReadmeNamesEveryCommandThatThereIs(t *testing.T) {
	t.Parallel()

	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(readme), "\n## Commands\n")
	listed := []string{}
	for row := range strings.Lines(section) {
		if !strings.HasPrefix(row, "| ") {
			continue
		}
		for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row, -1) {
			verb, children, isGroup := strings.Cut(span[1], " ")
			if !isGroup {
				listed = append(listed, verb)
			}
			for child := range strings.SplitSeq(children, `\|`) {
				if isGroup {
					listed = append(listed, verb+" "+child)
				}
			}
		}
	}
	there := []string{}
	everyCommand(newRootCommand(&app{process: process{stdout: io.Discard, stderr: io.Discard}}), func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), "surveyhooks ")
		only := !strings.Contains(cmd.Use, " ") && cmd.HasAvailableSubCommands() // a group without a life of its own
		if cmd.HasParent() && cmd.IsAvailableCommand() && !only {
			there = append(there, path)
		}
	})
	require.Contains(t, there, "recover")
	require.ElementsMatch(t, append(there, "completion"), listed) // cobra adds that one when it runs
}

func TestVersionAndCompletion(t *testing.T) {
	t.Parallel()

	s := shell{t: t}
	require.Contains(t, s.object("version"), "schema")
	require.Contains(t, s.ok("version"), "surveyhooks")
	require.Contains(t, s.ok("completion", "bash"), "surveyhooks")
}

// TestManualHasAPageOfEveryCommandAndIsTheSameEachTime reads what the packager would install.
func TestManualHasAPageOfEveryCommandAndIsTheSameEachTime(t *testing.T) {
	t.Parallel()

	s, first, second := shell{t: t}, filepath.Join(t.TempDir(), "man1"), t.TempDir()
	s.ok("man", "--to", first)
	s.ok("man", "--to", second)
	everyCommand(newRootCommand(&app{process: process{stdout: io.Discard, stderr: io.Discard}}), func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(first, name))
		require.NoError(t, err, cmd.CommandPath())
		again, err := os.ReadFile(filepath.Join(second, name))
		require.NoError(t, err)
		require.Equal(t, string(page), string(again))
	})
	page, err := os.ReadFile(filepath.Join(first, "surveyhooks-serve.1"))
	require.NoError(t, err)
	require.Contains(t, string(page), "SURVEYHOOKS_DATABASE_URL_FILE")
	require.Contains(t, string(page), "SIGHUP")
	require.Equal(t, exitUsage, s.run("man").code)

	require.Equal(t, "3.1.0", decode(t, s.ok("openapi"))["openapi"])
}

func decode(t *testing.T, text string) (value map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &value))
	return value
}

func TestMigrate(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	for _, m := range s.list("migrate", "status") {
		require.Equal(t, true, m["applied"])
	}
	require.Contains(t, s.ok("migrate", "up"), "00001_logs.sql")
	for _, down := range [][]string{{"down"}, {"down", "2"}} {
		got := s.run(append([]string{"migrate"}, down...)...)
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, "start the version before on the newer schema")
	}

	db := schematest.New(t)
	_, err := db.Owner.ExecContext(t.Context(), `DROP SCHEMA webhooks CASCADE; DROP TABLE public.webhooks_migrations`)
	require.NoError(t, err)
	bare := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + db.OwnerDSN, "SURVEYHOOKS_SEAL_KEYS=" + relaytest.Key(t, "bare").Reveal()}}
	got := bare.run("migrate", "status")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stderr, "migrate up")
	got = bare.run("endpoints", "list")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stderr, "run surveyhooks migrate up")
	got = bare.run("doctor", "-o", "json")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stdout, "run surveyhooks migrate up")
	require.Equal(t, exitFailure, bare.run("serve", "--admin-addr", "off", "--listen-addr", "off").code)
	bare.ok("migrate", "up")
	bare.ok("migrate", "status")
}

func TestEndpointsFromCreationToDeletion(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	made := s.object("endpoints", "create", "--company", company, "--url", "https://hooks.example.com/in",
		"--events", "conversation.started,conversation.completed", "--description", "CRM")
	for _, key := range []string{"id", "company_id", "url", "events", "state", "secret"} {
		require.Contains(t, made, key)
	}
	require.Regexp(t, `^whsec_`, made["secret"])
	require.Equal(t, "enabled", made["state"])
	id, _ := made["id"].(string)

	require.NotContains(t, s.object("endpoints", "get", id), "secret")
	require.Len(t, s.list("endpoints", "list", "--company", company), 1)
	require.Empty(t, s.list("endpoints", "list", "--company", uuid.NewString()))
	require.Equal(t, []any{"all"}, s.object("endpoints", "update", id, "--events", "all")["events"])
	require.Equal(t, exitFailure, s.run("endpoints", "update", id, "--description", "x", "--if-version", "1").code)
	require.Equal(t, "disabled", s.object("endpoints", "disable", id, "--reason", "gone", "--note", "Moving to the new CRM.")["state"])
	require.Contains(t, s.ok("endpoints", "get", id), "disabled (gone): Moving to the new CRM.")
	require.Equal(t, exitUsage, s.run("endpoints", "disable", id, "--reason", "mood").code)
	require.Contains(t, s.ok("endpoints", "list", "--state", "disabled"), "disabled (gone)")
	require.Equal(t, "enabled", s.object("endpoints", "enable", id)["state"])
	rotated := s.object("endpoints", "rotate-secret", id)
	require.NotEqual(t, made["secret"], rotated["secret"])
	require.NotEmpty(t, s.object("endpoints", "test", id)["event_id"])

	got := s.run("endpoints", "delete", id)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "--yes")
	require.Equal(t, true, s.object("endpoints", "delete", id, "--yes")["deleted"])
	require.Equal(t, exitNotFound, s.run("endpoints", "get", id).code)
	require.Equal(t, exitNotFound, s.run("endpoints", "test", id).code)
}

func TestAFailureIsSaidOnce(t *testing.T) {
	t.Parallel()

	refused := testWords(fact.Connect)
	require.Equal(t, refused+": nothing listens on that port", withDetail(refused, refused+": nothing listens on that port"))
	require.Equal(t, refused+": at 10:00", withDetail(refused, "at 10:00"))
	require.Equal(t, refused, withDetail(refused, ""))
}

// A rate limit is in every answer, null where there is none; 0 and none take it away.
func TestRateLimitOfAnEndpoint(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	made := s.object("endpoints", "create", "--company", company, "--url", "https://hooks.example.com/in", "--rate-limit", "20")
	require.EqualValues(t, 20, made["rate_limit"])
	id, _ := made["id"].(string)
	for _, none := range []string{"0", "none"} {
		require.EqualValues(t, 1, s.object("endpoints", "update", id, "--rate-limit", "1")["rate_limit"])
		require.EqualValues(t, 1, s.object("endpoints", "update", id, "--description", none)["rate_limit"], "what is not given stays")
		update := s.object("endpoints", "update", id, "--rate-limit", none)
		require.Contains(t, update, "rate_limit")
		require.Nil(t, update["rate_limit"])
	}
	require.Contains(t, s.ok("endpoints", "get", id, "-o", "json"), `"rate_limit": null`)
	s.ok("endpoints", "update", id, "--rate-limit", "333")
	require.Regexp(t, `(?s)RATE.* 333 `, s.ok("endpoints", "list", "-o", "table"))
	require.Contains(t, s.ok("endpoints", "update", "--help"), "0 or none takes the limit away")
}

func TestOnlyTheSwitchLiftsHTTPSAndItSaysSo(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	create := []string{"endpoints", "create", "--company", company, "--url", "http://127.0.0.1:8000/in"}
	got := s.run(create...)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "https://")
	got = s.with("SURVEYHOOKS_INSECURE_ENDPOINTS=true").run(create...)
	require.Equal(t, exitOK, got.code)
	require.Contains(t, got.stderr, "WARNING")
	require.NotContains(t, got.stdout, "WARNING")
}

func TestPublish(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	id := uuid.NewString()
	text, err := json.Marshal(outbox.NewSample(outbox.ConversationStartedType, uuid.MustParse(company)).Data)
	require.NoError(t, err)
	data := string(text)
	got := s.feed(data, "publish", "--company", company, "--type", "conversation.started", "--data", "-", "--id", id)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Equal(t, id+"\n", got.stdout)

	file := filepath.Join(t.TempDir(), "data.json")
	require.NoError(t, os.WriteFile(file, []byte(data), 0o600))
	require.NotEmpty(t, s.object("publish", "--company", company, "--type", "conversation.started", "--data", file)["event_id"])
	s.ok("publish", "--company", company, "--type", "conversation.completed", "--sample")

	got = s.feed("[1]", "publish", "--company", company, "--type", "conversation.started", "--data", "-")
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "want a JSON object")

	got = s.feed("{}", "publish", "--company", company, "--type", "conversation.startet", "--data", "-")
	require.Equal(t, exitOK, got.code, "it may be a type of tomorrow")
	require.Contains(t, got.stderr, `warning: type "conversation.startet" is not in the catalogue (did you mean conversation.started?)`)
}

func TestConfigShowNamesSourcesAndMasksSecrets(t *testing.T) {
	t.Parallel()

	file := filepath.Join(t.TempDir(), "dsn")
	require.NoError(t, os.WriteFile(file, []byte("postgres://u:hunter2@db/survey\n"), 0o600))
	s := shell{t, []string{"SURVEYHOOKS_DATABASE_URL_FILE=" + file, "SURVEYHOOKS_CONCURRENCY=4", "SURVEYHOOKS_PG_BINDIR=/x"}}
	got := map[string]map[string]any{}
	for _, setting := range s.list("config", "show", "--drain", "5s") {
		name, _ := setting["name"].(string)
		got[name] = setting
	}
	require.Equal(t, "postgres://u:xxxxx@db/survey", got["database-url"]["value"])
	require.Equal(t, "environment SURVEYHOOKS_DATABASE_URL_FILE", got["database-url"]["source"])
	require.Equal(t, "4", got["concurrency"]["value"])
	require.Equal(t, "environment SURVEYHOOKS_CONCURRENCY", got["concurrency"]["source"])
	require.Equal(t, "flag", got["drain"]["source"])
	require.Equal(t, "default", got["lease"]["source"])
	require.Equal(t, `host=x password=xxxxx user=u`, maskDSN(`host=x password='hun ter2' user=u`))
}

// TestAnArgumentOfOneActIsNotTheNextOnes: a variable for one verb's secret is no other verb's, and none says yes to everything.
func TestAnArgumentOfOneActIsNotTheNextOnes(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	secret := sign.NewSecret().Reveal()
	create := []string{"endpoints", "create", "--company", company, "--url", "https://example.com/twins"}
	got := s.with("SURVEYHOOKS_SECRET=" + secret).run(create...)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "SURVEYHOOKS_ENDPOINTS_CREATE_SECRET")
	require.Contains(t, got.stderr, "SURVEYHOOKS_SIGNATURE_VERIFY_SECRET")
	require.Contains(t, s.with("SURVEYHOOKS_YES=1").run("endpoints", "delete", company).stderr, "SURVEYHOOKS_ENDPOINTS_DELETE_YES")

	made := s.with("SURVEYHOOKS_SIGNATURE_VERIFY_SECRET=" + secret).object(create...)
	require.NotEqual(t, secret, made["secret"])
	create[len(create)-1] = "https://example.com/own"
	made = s.with("SURVEYHOOKS_ENDPOINTS_CREATE_SECRET=" + secret).object(create...)
	require.Equal(t, secret, made["secret"])
	id, _ := made["id"].(string)
	require.Equal(t, exitUsage, s.with("SURVEYHOOKS_RECOVER_YES=1").run("endpoints", "delete", id).code)
	require.Equal(t, exitOK, s.with("SURVEYHOOKS_ENDPOINTS_DELETE_YES=1").run("endpoints", "delete", id).code)
	require.Len(t, s.with("SURVEYHOOKS_COMPANY="+company).list("endpoints", "list"), 1, "whose installation it is stays one for all")
	require.Contains(t, s.ok("endpoints", "create", "--help"), "[$SURVEYHOOKS_ENDPOINTS_CREATE_SECRET, or $SURVEYHOOKS_ENDPOINTS_CREATE_SECRET_FILE]")
}

// TestDoctorTellsAFreshDatabaseFromOneThatNobodyServes: the one is as it should be before the first start.
func TestDoctorTellsAFreshDatabaseFromOneThatNobodyServes(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	require.Contains(t, s.ok("doctor"), "none alive")
	require.Contains(t, s.ok("partitions", "list"), "\t0\t")
	s.ok("publish", "--company", company, "--type", "conversation.started", "--sample")
	require.Regexp(t, `outbox\t\S+\t-\t`, s.ok("partitions", "list"), "nobody has counted the row")
	got := s.run("doctor")
	require.Equal(t, exitFailure, got.code, got.stdout)
	require.Contains(t, got.stdout, "run surveyhooks serve")
}

// TestListsTakeATimeOrALength, and warn of a type that nothing has.
func TestListsTakeATimeOrALength(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	for _, verb := range []string{"events", "deliveries", "attempts"} {
		for _, since := range []string{"2h", "2024-03-06T12:00:00Z"} {
			s.ok(verb, "list", "--since", since)
		}
		got := s.run(verb, "list", "--since", "-2h")
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, "want a time such as 2024-03-06T12:00:00Z, or how long ago, such as 2h")
		got = s.run(verb, "list", "--type", "conversation.complete")
		require.Equal(t, exitOK, got.code)
		require.Contains(t, got.stderr, `warning: --type "conversation.complete" is not in the catalogue (did you mean conversation.completed?)`)
		require.Empty(t, s.run(verb, "list", "--type", "conversation.completed").stderr)
	}
}

func TestUnknownIsThree(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	for _, verb := range []string{"events get", "endpoints get", "endpoints enable"} {
		require.Equal(t, exitNotFound, s.run(append(strings.Fields(verb), uuid.NewString())...).code, verb)
	}
	require.Equal(t, exitNotFound, s.run("deliveries", "get", "42").code)
	require.Equal(t, exitNotFound, s.run("deliveries", "retry", "42").code)
	for _, verb := range []string{"events list", "deliveries list", "attempts list", "endpoints list"} {
		require.Empty(t, s.list(strings.Fields(verb)...), verb)
	}
}

// lines collects what a long run writes, and tells of each log line with a message that somebody waits for.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen chan string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var entry struct{ Msg, Addr string }
	if json.Unmarshal(p, &entry) == nil && entry.Msg == "admin server listens" {
		l.seen <- entry.Addr
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestServeSendsWhatIsPublishedAndStopsInOrder(t *testing.T) {
	t.Parallel()

	received := make(chan string, 16)
	var status atomic.Int64
	status.Store(http.StatusOK)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(int(status.Load()))
		fmt.Fprint(w, "not today")
		received <- r.Header.Get("X-Webhook-ID")
	}))
	t.Cleanup(receiver.Close)
	s := newShell(t).with("SURVEYHOOKS_INSECURE_ENDPOINTS=1")
	made := s.object("endpoints", "create", "--company", company, "--url", receiver.URL)

	ctx, stop := context.WithCancel(t.Context())
	log := &lines{seen: make(chan string, 1)}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--admin-addr", "127.0.0.1:0", "--listen-addr", "off"}, process{env: s.env, stdin: nil, stdout: io.Discard, stderr: log})
	}()
	addr := "http://" + <-log.seen
	require.Eventually(t, func() bool {
		status, _ := get(t, addr+"/readyz")
		return status == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond)

	event, _ := s.object("publish", "--company", company, "--type", "conversation.started", "--sample")["event_id"].(string)
	require.Equal(t, event, <-received)
	var delivered []map[string]any
	require.Eventually(t, func() bool {
		delivered = s.list("deliveries", "list", "--state", "delivered", "--event", event)
		return len(delivered) == 1
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, made["id"], delivered[0]["endpoint_id"])

	id := number(int64(delivered[0]["delivery_id"].(float64)))
	require.Len(t, s.object("deliveries", "get", id)["attempts"], 1)
	require.Contains(t, s.ok("deliveries", "get", id), "succeeded")
	require.Len(t, s.list("attempts", "list", "--delivery", id), 1)
	require.Contains(t, s.ok("events", "get", event), "chosen")
	s.ok("deliveries", "retry", id)
	require.Equal(t, event, <-received, "a replay keeps the event's id")
	require.Contains(t, s.ok("deliveries", "get", id, "-o", "json"), `"retried_by": "cli`)
	require.Regexp(t, `RETRIED BY +RETRIED\n.* - +cli:\S+ +\d{4}-`, s.ok("deliveries", "get", id, "-o", "table"))

	endpoint := fmt.Sprint(made["id"])
	tested := s.object("endpoints", "test", endpoint, "--wait", "20s")
	require.Equal(t, tested["event_id"], <-received)
	require.Equal(t, endpoint, tested["endpoint_id"])
	require.NotNil(t, tested["delivery_id"])
	require.Equal(t, "succeeded", tested["attempt"].(map[string]any)["outcome"])
	status.Store(http.StatusTeapot)
	failed := s.run("endpoints", "test", endpoint, "--wait", "20s", "-o", "table")
	<-received
	require.Equal(t, exitFailure, failed.code)
	require.Contains(t, failed.stdout, "418")
	require.Contains(t, failed.stdout, fact.StatusClient.Words())
	require.Contains(t, failed.stdout, "it answered: not today")
	status.Store(http.StatusOK)

	require.Len(t, s.list("projections", "status"), 2)
	for _, f := range s.list("doctor") {
		require.NotEqual(t, "fail", f["status"], f)
	}
	adminAnswers(t, addr)
	admin := strings.TrimPrefix(addr, "http://")
	require.Equal(t, "ok\n", s.ok("healthcheck", "--admin-addr", admin))
	_, port, _ := strings.Cut(admin, ":")
	require.Equal(t, "ok\n", s.with("SURVEYHOOKS_ADMIN_ADDR=:"+port).ok("healthcheck"), "the variable of serve, as in a container")
	require.Contains(t, s.ok("healthcheck", "--ready", "--admin-addr", admin), `"ready":true`)
	rows := strings.Split(strings.TrimSpace(s.ok("endpoints", "list", "-o", "jsonl")), "\n")
	require.Len(t, rows, 1)
	var row map[string]any
	require.NoError(t, json.Unmarshal([]byte(rows[0]), &row))
	require.Equal(t, made["id"], row["id"])

	stop()
	require.Equal(t, exitOK, <-code, log)
	require.Contains(t, log.String(), "INSECURE ENDPOINTS")
	require.Contains(t, log.String(), "surveyhooks stopped")
	s.ok("projections", "rebuild", "--verify")
	require.Contains(t, s.ok("audit"), "unaccounted: 0\n")
	require.InDelta(t, 0, s.object("audit", "--no-catch-up")["unaccounted"], 0)
}

func TestServeWaitsForADatabaseThatIsNotUp(t *testing.T) {
	t.Parallel()

	ctx, stop := context.WithCancel(t.Context())
	log := &lines{seen: make(chan string, 1)}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--admin-addr", "127.0.0.1:0", "--listen-addr", "off", "--database-url", "postgres://u:hunter2@127.0.0.1:1/x?sslmode=disable"},
			process{env: []string{"SURVEYHOOKS_SEAL_KEYS=" + relaytest.Key(t, "early").Reveal()}, stdout: io.Discard, stderr: log})
	}()
	addr := "http://" + <-log.seen
	status, ready := get(t, addr+"/readyz?verbose")
	require.Equal(t, http.StatusServiceUnavailable, status)
	asked := shell{t: t}.run("healthcheck", "--ready", "--admin-addr", strings.TrimPrefix(addr, "http://"))
	require.Equal(t, exitFailure, asked.code)
	require.Contains(t, asked.stderr, "does not answer")
	require.Equal(t, exitUnavailable, shell{t: t}.run("healthcheck", "--admin-addr", "127.0.0.1:1").code)
	require.JSONEq(t, `{"ready":false,"checks":{"database":"does not answer","migrations":"unknown","keys":"unknown","process":"starting"}}`, ready)
	status, _ = get(t, addr+"/livez")
	require.Equal(t, http.StatusOK, status)
	stop()
	require.Equal(t, exitOK, <-code, log)
	require.NotContains(t, log.String(), "hunter2")
}

// adminAnswers asks the pages of a running admin server.
func adminAnswers(t *testing.T, addr string) {
	t.Helper()
	for _, path := range []string{"/livez", "/healthz", "/version", "/debug/pprof/"} {
		status, _ := get(t, addr+path)
		require.Equal(t, http.StatusOK, status, path)
	}
	status, line := get(t, addr+"/debug/pprof/cmdline")
	require.Equal(t, http.StatusNotFound, status, "arguments may be secrets: %s", line)
	_, metrics := get(t, addr+"/metrics")
	for _, name := range []string{
		"outbox_pending", "outbox_oldest_age_seconds", "projection_lag_seconds", "attempts_total", "build_info", "endpoints",
		"deliveries_pending 0", "retries_scheduled 0", "quarantined_rows 0", `relays{state="alive"} 1`, `relays{state="silent"} 0`,
		`deliveries_total{event="conversation.started",result="delivered"} 2`, "delivery_end_to_end_seconds_count 1",
	} {
		require.Contains(t, metrics, "\nsurveyhooks_"+name)
	}
	_, ready := get(t, addr+"/readyz?verbose")
	require.JSONEq(t, `{"ready":true,"checks":{"database":"ok","migrations":"ok","keys":"ok","process":"ok"}}`, ready)
}
