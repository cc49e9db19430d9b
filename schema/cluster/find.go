package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/chattosurvey/surveyhooks/schema"
)

// BindirVariable names the folder of initdb and postgres, and ends the search.
const BindirVariable = "SURVEYHOOKS_PG_BINDIR"

var versionNumber = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// build is a folder of server programs and their major version.
type build struct {
	dir   string
	major int
}

// machine is what the search sees: tests give it another one.
type machine struct {
	bindir string   // value of SURVEYHOOKS_PG_BINDIR
	path   []string // folders of PATH
	usual  []string // patterns of the folders where packages put servers
	root   bool
	run    func(ctx context.Context, name string, args ...string) ([]byte, error)
}

func thisMachine() machine {
	return machine{
		bindir: os.Getenv(BindirVariable),
		path:   filepath.SplitList(os.Getenv("PATH")),
		usual: []string{
			"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*", "/usr/local/pgsql/bin",
			"/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin", "/opt/local/lib/postgresql*/bin",
			"/Applications/Postgres.app/Contents/Versions/*/bin",
		},
		root: os.Geteuid() == 0,
		run: func(ctx context.Context, name string, args ...string) ([]byte, error) {
			cmd := exec.CommandContext(ctx, name, args...)
			cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
			return cmd.CombinedOutput()
		},
	}
}

// binaries finds a server on the machine, or fetches one.
func binaries(ctx context.Context, config Config, h home) (build, error) {
	return thisMachine().obtain(ctx, config, h)
}

// obtain goes from the cheapest source to the dearest: installed, npm bundle, apt.
func (m machine) obtain(ctx context.Context, config Config, h home) (build, error) {
	if config.NoSearch {
		return m.bundle(ctx, h, config.Logf)
	}
	if m.bindir != "" {
		b := m.inspect(ctx, m.bindir)
		if b.major < schema.OldestServer {
			return build{}, fmt.Errorf("%s=%s holds no initdb and postgres of version %d or newer", BindirVariable, m.bindir, schema.OldestServer)
		}
		return b, nil
	}
	if b, ok := m.find(ctx, h); ok {
		return b, nil
	}
	b, npmErr := m.bundle(ctx, h, config.Logf)
	if npmErr == nil {
		return b, nil
	}
	aptErr := m.apt(ctx, config.Logf)
	if aptErr == nil {
		if b, ok := m.find(ctx, h); ok {
			return b, nil
		}
		aptErr = fmt.Errorf("apt-get: its PostgreSQL is older than %d", schema.OldestServer)
	}
	return build{}, fmt.Errorf("there is no PostgreSQL %d or newer on this machine; run `apt-get install postgresql` (Debian, Ubuntu), "+
		"`brew install postgresql@17` (macOS) or `dnf install postgresql-server` (Fedora), set %s, or give --database-url: %w",
		schema.OldestServer, BindirVariable, errors.Join(npmErr, aptErr))
}

// find is the best installed server: one whose data folder exists already, else the newest.
func (m machine) find(ctx context.Context, h home) (build, bool) {
	var dirs []string
	if initdb, ok := m.lookPath("initdb"); ok {
		if target, err := filepath.EvalSymlinks(initdb); err == nil {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	if config, ok := m.lookPath("pg_config"); ok {
		if out, err := m.run(ctx, config, "--bindir"); err == nil {
			dirs = append(dirs, strings.TrimSpace(string(out)))
		}
	}
	for _, pattern := range m.usual {
		found, _ := filepath.Glob(pattern) // the patterns are well formed
		dirs = append(dirs, found...)
	}
	var builds []build
	for _, dir := range dirs {
		b := m.inspect(ctx, dir)
		if b.major >= schema.OldestServer && (!h.drop || reachable(dir, h.uid)) {
			builds = append(builds, b)
		}
	}
	if len(builds) == 0 {
		return build{}, false
	}
	return slices.MaxFunc(builds, func(a, b build) int {
		return cmp.Or(cmp.Compare(h.hasData(a.major), h.hasData(b.major)), cmp.Compare(a.major, b.major))
	}), true
}

// inspect reads the version of the server in dir; major 0 means that there is none.
func (m machine) inspect(ctx context.Context, dir string) build {
	if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
		return build{}
	}
	out, err := m.run(ctx, filepath.Join(dir, "postgres"), "--version")
	if err != nil {
		return build{}
	}
	number := versionNumber.FindSubmatch(out)
	if number == nil {
		return build{}
	}
	major, _ := strconv.Atoi(string(number[1])) // digits by the pattern
	return build{dir: dir, major: major}
}

func (m machine) lookPath(name string) (string, bool) {
	for _, dir := range m.path {
		file := filepath.Join(dir, name)
		if st, err := os.Stat(file); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 && filepath.IsAbs(file) {
			return file, true
		}
	}
	return "", false
}

func (h *home) hasData(major int) int {
	if _, err := os.Stat(filepath.Join(h.dir, "data-"+strconv.Itoa(major))); err != nil {
		return 0
	}
	return 1
}
