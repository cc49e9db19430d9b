package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// bare is this machine without servers: nothing on PATH, no usual folders.
func bare() machine {
	m := thisMachine()
	m.bindir, m.path, m.usual, m.root = "", nil, nil, false
	return m
}

// programs writes a folder that says it holds a server of the version.
func programs(t *testing.T, dir string, version string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s'\n", version)
	for _, name := range []string{"initdb", "postgres"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir
}

func tool(t *testing.T, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	return dir
}

func TestSearch(t *testing.T) {
	t.Parallel()

	t.Run("TakesTheNewestOfPathAndConfigAndUsualFolders", func(t *testing.T) {
		t.Parallel()
		root := t.TempDir()
		m := bare()
		newest := programs(t, filepath.Join(root, "c"), "18beta1")
		m.path = []string{
			programs(t, filepath.Join(root, "a"), "14.3"),
			tool(t, "pg_config", "echo "+programs(t, filepath.Join(root, "b"), "17.2 (Debian 17.2-1)")),
		}
		m.usual = []string{newest}
		b, ok := m.find(t.Context(), home{dir: root})
		require.True(t, ok)
		require.Equal(t, build{dir: newest, major: 18}, b)
	})

	t.Run("StaysWithTheVersionThatHasData", func(t *testing.T) {
		t.Parallel()
		root := t.TempDir()
		m := bare()
		m.usual = []string{programs(t, filepath.Join(root, "a"), "15.1"), programs(t, filepath.Join(root, "b"), "17.1")}
		require.NoError(t, os.Mkdir(filepath.Join(root, "data-15"), 0o700))
		b, ok := m.find(t.Context(), home{dir: root})
		require.True(t, ok)
		require.Equal(t, 15, b.major)
	})

	t.Run("IgnoresWhatIsTooOld", func(t *testing.T) {
		t.Parallel()
		m := bare()
		m.usual = []string{programs(t, filepath.Join(t.TempDir(), "a"), "13.9")}
		_, ok := m.find(t.Context(), home{})
		require.False(t, ok)
	})

	t.Run("ObeysTheVariableOrSaysWhyNot", func(t *testing.T) {
		t.Parallel()
		m := bare()
		m.bindir = programs(t, filepath.Join(t.TempDir(), "a"), "16.1")
		b, err := m.obtain(t.Context(), Config{Logf: t.Logf}, home{})
		require.NoError(t, err)
		require.Equal(t, 16, b.major)
		m.bindir = "/nonexistent"
		_, err = m.obtain(t.Context(), Config{Logf: t.Logf}, home{})
		require.ErrorContains(t, err, BindirVariable)
	})

	t.Run("NamesTheCommandsWhenNothingHelps", func(t *testing.T) {
		t.Parallel()
		_, err := bare().obtain(t.Context(), Config{Logf: t.Logf}, home{dir: t.TempDir()})
		for _, hint := range []string{"apt-get install postgresql", "brew install", BindirVariable, "--database-url", "npm"} {
			require.ErrorContains(t, err, hint)
		}
	})

	t.Run("LetsRootInstallWithApt", func(t *testing.T) {
		t.Parallel()
		m, dir := bare(), filepath.Join(t.TempDir(), "a")
		m.root, m.path, m.usual = true, []string{tool(t, "apt-get", "")}, []string{dir}
		var calls []string
		run := m.run
		m.run = func(ctx context.Context, name string, args ...string) ([]byte, error) {
			if filepath.Base(name) == "apt-get" {
				calls = append(calls, args[0])
				programs(t, dir, "15.4")
				return nil, nil
			}
			return run(ctx, name, args...)
		}
		var said strings.Builder
		b, err := m.obtain(t.Context(), Config{Logf: func(f string, a ...any) { fmt.Fprintf(&said, f, a...) }}, home{dir: t.TempDir()})
		require.NoError(t, err)
		require.Equal(t, build{dir: dir, major: 15}, b)
		require.Equal(t, []string{"update", "install"}, calls)
		require.Contains(t, said.String(), "apt-get")
	})

	t.Run("LeavesNoBundleWhenNpmFails", func(t *testing.T) {
		t.Parallel()
		m, dir := bare(), t.TempDir()
		m.path = []string{tool(t, "npm", "echo no network >&2; exit 1")}
		_, err := m.obtain(t.Context(), Config{Logf: t.Logf}, home{dir: dir})
		require.ErrorContains(t, err, "no network")
		require.NoDirExists(t, filepath.Join(dir, "bundle"))
	})
}

func TestHydrateStaysInsideThePackage(t *testing.T) {
	t.Parallel()
	pkg := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(pkg, "native", "lib"), 0o755))
	list := filepath.Join(pkg, "native", "pg-symlinks.json")
	require.NoError(t, os.WriteFile(list, []byte(`[{"source":"native/lib/libx.so.1.2","target":"native/lib/libx.so.1"}]`), 0o600))
	require.NoError(t, hydrate(pkg))
	require.NoError(t, hydrate(pkg), "twice is once")
	to, err := os.Readlink(filepath.Join(pkg, "native/lib/libx.so.1"))
	require.NoError(t, err)
	require.Equal(t, "libx.so.1.2", to)

	require.NoError(t, os.WriteFile(list, []byte(`[{"source":"native/lib/a","target":"../../outside"}]`), 0o600))
	require.ErrorContains(t, hydrate(pkg), "leaves the package")
}

func TestBundleRunsWithoutAnInstalledServer(t *testing.T) {
	t.Parallel()
	config := Config{Dir: folder(t), NoSearch: true, Unsafe: true}
	s := start(t, config)
	require.Contains(t, s.Bin, "@embedded-postgres")
	require.Equal(t, "UTF8", ask(t, s, "SHOW server_encoding"))
	require.NoError(t, s.Stop())
	require.NoDirExists(t, filepath.Join(s.Dir, "bundle.new"))

	again := start(t, config) // the bundle is there: no second download
	require.Equal(t, s.Bin, again.Bin)
	require.DirExists(t, filepath.Join(s.Dir, "data-18"))
}
