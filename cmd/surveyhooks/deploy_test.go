package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/chattosurvey/surveyhooks/relay"
)

// The files below deploy/ are code that nobody compiles: these tests hold them to the flags, ports, paths, variables and
// metrics that they name.

func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("deploy", filepath.FromSlash(name)))
	require.NoError(t, err)
	return string(text)
}

// documents are the YAML documents of a file.
func documents(t *testing.T, name string) []map[string]any {
	t.Helper()
	var list []map[string]any
	decoder := yaml.NewDecoder(strings.NewReader(deployed(t, name)))
	for {
		var doc map[string]any
		err := decoder.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return list
		}
		require.NoError(t, err, name)
		list = append(list, doc)
	}
}

// dig follows keys and indexes into a document.
func dig(t *testing.T, value any, path ...any) any {
	t.Helper()
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, ok := value.(map[string]any)
			require.True(t, ok, "%v: no object for %q", path, step)
			require.Contains(t, object, step)
			value = object[step]
		case int:
			list, ok := value.([]any)
			require.True(t, ok && step < len(list), "%v: no item %d", path, step)
			value = list[step]
		}
	}
	return value
}

// means runs config show with an environment, whose files are made up: it fails for an unknown variable and for a value
// that serve would refuse.
func means(t *testing.T, environment map[string]string) {
	t.Helper()
	files := map[string]string{"SURVEYHOOKS_DATABASE_URL_FILE": "postgres://relay@db/survey", "SURVEYHOOKS_SEAL_KEYS_FILE": ""}
	var env []string
	for name, value := range environment {
		if content, isFile := files[name]; isFile {
			value = filepath.Join(t.TempDir(), "value")
			require.NoError(t, os.WriteFile(value, []byte(content), 0o600))
		}
		env = append(env, name+"="+value)
	}
	got := shell{t, env}.run("config", "show")
	require.Equal(t, exitOK, got.code, got.stderr)
}

// isVerb proves that a container's arguments are a command line of ours.
func isVerb(t *testing.T, args any) {
	t.Helper()
	var words []string
	for _, word := range args.([]any) {
		words = append(words, word.(string))
	}
	got := shell{t: t}.run(append(words, "--help")...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stdout, "\n  surveyhooks "+strings.Join(words, " ")+" [flags]")
}

func serveDefaults() serveOptions {
	var o serveOptions
	o.define(pflag.NewFlagSet("serve", pflag.ContinueOnError))
	return o
}

// imageUser is the user of the image.
func imageUser(t *testing.T) int {
	t.Helper()
	found := regexp.MustCompile(`(?m)^USER (\d+):\d+$`).FindStringSubmatch(deployed(t, "Containerfile"))
	require.NotNil(t, found)
	id, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	return id
}

func TestUnitFitsServeAndSystemd(t *testing.T) {
	t.Parallel()

	unit, environment := map[string]string{}, map[string]string{}
	for line := range strings.Lines(deployed(t, "surveyhooks.service")) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if name, path, isSet := strings.Cut(value, "="); ok && key == "Environment" && isSet {
			environment[name] = path
			require.Contains(t, deployed(t, "surveyhooks.service"), "LoadCredential="+strings.TrimPrefix(path, "%d/")+":", name)
		}
		unit[key] = value
	}
	require.Equal(t, "notify", unit["Type"])
	require.Equal(t, "/usr/bin/surveyhooks serve", unit["ExecStart"])
	require.Contains(t, unit["ExecReload"], "-HUP")
	stop, err := time.ParseDuration(unit["TimeoutStopSec"])
	require.NoError(t, err)
	require.Greater(t, stop, serveDefaults().drain)
	require.Contains(t, strings.Fields(unit["RestrictAddressFamilies"]), "AF_NETLINK", "package egress lists this host's addresses by it")
	means(t, environment)

	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd-analyze is not installed: systemd's own opinion of the unit was not asked")
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "surveyhooks.service")
	text := strings.ReplaceAll(deployed(t, "surveyhooks.service"), "/usr/bin/surveyhooks", self) // it has to be there
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	said, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.NotContains(t, string(said), "surveyhooks.service", "no warning about our unit")
}

func TestManifestsNameWhatTheCodeHas(t *testing.T) {
	t.Parallel()

	job, deployment := documents(t, "kubernetes/migrate.yaml")[0], documents(t, "kubernetes/relay.yaml")[0]
	for _, pod := range []any{dig(t, job, "spec", "template", "spec"), dig(t, deployment, "spec", "template", "spec")} {
		require.Equal(t, false, dig(t, pod, "enableServiceLinks"))
		require.Equal(t, imageUser(t), dig(t, pod, "securityContext", "runAsUser"))
		isVerb(t, dig(t, pod, "containers", 0, "args"))
		environment, mounted := map[string]string{}, dig(t, pod, "containers", 0, "volumeMounts", 0, "mountPath").(string)
		for _, variable := range dig(t, pod, "containers", 0, "env").([]any) {
			name, value := dig(t, variable, "name").(string), dig(t, variable, "value").(string)
			environment[name] = value
			if strings.HasSuffix(name, fileSuffix) {
				require.Equal(t, mounted, filepath.Dir(value), name)
			}
		}
		if environment["SURVEYHOOKS_SEAL_KEYS_FILE"] != "" {
			require.Equal(t, "9090", strings.TrimPrefix(environment["SURVEYHOOKS_ADMIN_ADDR"], ":"))
			require.Equal(t, serveDefaults().web.listenAddr, environment["SURVEYHOOKS_LISTEN_ADDR"])
		}
		means(t, environment)
	}

	pod := dig(t, deployment, "spec", "template", "spec")
	container := dig(t, pod, "containers", 0)
	ports := map[any]any{}
	for _, port := range dig(t, container, "ports").([]any) {
		ports[dig(t, port, "name")] = dig(t, port, "containerPort")
	}
	require.Equal(t, map[any]any{"web": 8080, "admin": 9090}, ports)
	require.Equal(t, "9090", dig(t, deployment, "spec", "template", "metadata", "annotations", "prometheus.io/port"))
	db, err := openDatabase("host=/nonexistent dbname=x")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	mux := newAdmin(db, nil, slog.New(slog.DiscardHandler)).mux()
	for probe, path := range map[string]string{"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"} {
		require.Equal(t, path, dig(t, container, probe, "httpGet", "path"))
		require.Equal(t, "admin", dig(t, container, probe, "httpGet", "port"))
		_, pattern := mux.Handler(httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		require.NotEmpty(t, pattern, path)
	}
	wait := dig(t, container, "lifecycle", "preStop", "sleep", "seconds").(int)
	require.Greater(t, dig(t, pod, "terminationGracePeriodSeconds"), int(serveDefaults().drain.Seconds())+wait)
	labels := dig(t, deployment, "spec", "template", "metadata", "labels")
	for i, at := range [][]any{{"spec", "selector", "matchLabels"}, {"spec", "selector"}, {"spec", "selector", "matchLabels"}, {"spec", "podSelector", "matchLabels"}} {
		require.Equal(t, labels, dig(t, documents(t, "kubernetes/relay.yaml")[i], at...), "document %d selects the pods", i)
	}
}

func TestComposeAndImageNameWhatTheCodeHas(t *testing.T) {
	t.Parallel()

	services := dig(t, documents(t, "compose.yaml")[0], "services").(map[string]any)
	for _, name := range []string{"migrate", "serve"} {
		isVerb(t, dig(t, services, name, "command"))
		environment := map[string]string{}
		for variable, value := range dig(t, services, name, "environment").(map[string]any) {
			environment[variable] = strings.ReplaceAll(value.(string), "${SURVEYHOOKS_SEAL_KEYS-}", "")
		}
		means(t, environment)
	}
	grace, err := time.ParseDuration(dig(t, services, "serve", "stop_grace_period").(string))
	require.NoError(t, err)
	require.Greater(t, grace, serveDefaults().drain)
	_, err = os.Stat(filepath.Join("deploy", strings.SplitN(dig(t, services, "receiver", "volumes", 0).(string), ":", 2)[0]))
	require.NoError(t, err)

	image := deployed(t, "Containerfile")
	require.Contains(t, image, "EXPOSE "+strings.TrimPrefix(serveDefaults().web.listenAddr, ":"))
	isVerb(t, []any{regexp.MustCompile(`HEALTHCHECK .*"/surveyhooks", "(\w+)"\]`).FindStringSubmatch(image)[1]})
	module, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)[1]
	require.Contains(t, image, "golang:"+string(wanted)+"\n", "the Go of go.mod builds it")
}

// knownMetrics are the label names of every metric that serve registers, by name.
func knownMetrics(t *testing.T) map[string][]string {
	t.Helper()
	db, err := openDatabase("host=/nonexistent dbname=x")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	registry := newAdmin(db, nil, slog.New(slog.DiscardHandler)).registry
	_, err = relay.New(relay.Config{DSN: "host=/nonexistent dbname=x", Metrics: registry})
	require.NoError(t, err)
	descriptions := make(chan *prometheus.Desc)
	go func() { registry.Describe(descriptions); close(descriptions) }()
	known := map[string][]string{}
	shape := regexp.MustCompile(`fqName: "(\w+)".*constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}`)
	label := regexp.MustCompile(`(\w+)(?:=|,|$)`)
	for d := range descriptions {
		found := shape.FindStringSubmatch(d.String())
		require.NotNil(t, found, d)
		labels := []string{"job", "instance", "le"}
		for _, match := range label.FindAllStringSubmatch(found[2]+","+found[3], -1) {
			labels = append(labels, match[1])
		}
		known[found[1]] = labels
	}
	return known
}

// requireKnown holds every metric and label of a PromQL expression to the registry.
func requireKnown(t *testing.T, known map[string][]string, expression string) {
	t.Helper()
	var allowed []string
	used := regexp.MustCompile(`\b((?:surveyhooks|process|go)_\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(expression, -1)
	require.NotEmpty(t, used, expression)
	for _, u := range used {
		name := u[1]
		if _, ok := known[name]; !ok {
			name = strings.TrimSuffix(name, "_bucket")
		}
		require.Contains(t, known, name, expression)
		allowed = append(allowed, known[name]...)
		for _, matcher := range regexp.MustCompile(`(\w+)\s*[=!]~?"`).FindAllStringSubmatch(u[2], -1) {
			require.Contains(t, known[name], matcher[1], expression)
		}
	}
	for _, by := range regexp.MustCompile(`(?:by|on) \(([^)]*)\)`).FindAllStringSubmatch(expression, -1) {
		for l := range strings.SplitSeq(by[1], ",") {
			require.Contains(t, allowed, strings.TrimSpace(l), expression)
		}
	}
}

func TestEachAlertWatchesRealMetricsAndHasItsPlaceInTheRunbook(t *testing.T) {
	t.Parallel()

	known := knownMetrics(t)
	var alerts []string
	for _, rule := range dig(t, documents(t, "alerts.yaml")[0], "groups", 0, "rules").([]any) {
		alerts = append(alerts, dig(t, rule, "alert").(string))
		requireKnown(t, known, dig(t, rule, "expr").(string))
		require.Contains(t, []string{"critical", "warning"}, dig(t, rule, "labels", "severity"))
	}
	book := deployed(t, "runbook.md")
	var sections []string
	for _, section := range strings.Split(book, "\n## ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		sections = append(sections, name)
		for _, part := range []string{"- **Means**: ", "- **Look**: ", "- **Do**: ", "- **Heals**: "} {
			require.Contains(t, text, part, name)
		}
	}
	require.ElementsMatch(t, alerts, sections)
	for _, metric := range regexp.MustCompile(`surveyhooks_\w+`).FindAllString(book, -1) {
		require.Contains(t, known, metric)
	}
	isKnown := newRootCommand(&app{process: process{stdout: io.Discard, stderr: io.Discard}})
	for _, line := range regexp.MustCompile("`surveyhooks ([a-z -]+)").FindAllStringSubmatch(book, -1) {
		cmd, _, err := isKnown.Find(strings.Fields(line[1]))
		require.NoError(t, err)
		require.NotEqual(t, isKnown, cmd, line[0])
	}
}

func TestDashboardShowsRealMetrics(t *testing.T) {
	t.Parallel()

	known := knownMetrics(t)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	decoder := json.NewDecoder(bytes.NewBufferString(deployed(t, "dashboard.json")))
	require.NoError(t, decoder.Decode(&board))
	var all strings.Builder
	for _, panel := range board.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			requireKnown(t, known, target.Expr)
			all.WriteString(target.Expr)
		}
	}
	names := []string{}
	for name := range known {
		if strings.HasPrefix(name, "surveyhooks_") && !strings.Contains(all.String(), name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	require.Equal(t, []string{"surveyhooks_projection_pending"}, names, "every metric of ours is shown, or left out on purpose")
}
