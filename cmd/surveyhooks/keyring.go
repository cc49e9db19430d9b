package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/seal"
)

const sealKeys = "seal-keys"

// sealKeysFlag is for every verb that seals or opens.
func (a *app) sealKeysFlag(flags *pflag.FlagSet) {
	flags.StringVar(&a.sealKeys, sealKeys, "",
		"keyring that secrets and headers are sealed with: `id:base64,...`, the first key seals, all open; rather by its variables, since arguments show in process lists (default: that of surveyhooks dev, on its database)")
}

// keyring is the keys that were given, else those of surveyhooks dev when its database is used, else none. A file is
// read at every call.
func (a *app) keyring() (*seal.Ring, error) {
	text, path := a.sealKeys, a.fileOf(sealKeys)
	switch {
	case path != "" || text != "":
	case a.keysFile != "":
		path = a.keysFile
	case a.databaseURL == "":
		path = devKeysFile()
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			path = ""
		}
	}
	if path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, usage("read keyring: %w", err)
		}
		text = string(content)
	}
	ring, err := seal.ParseRing(text)
	if err != nil {
		return nil, usage("read keyring (%s): %w", a.keyringSource(path), err)
	}
	return ring, nil
}

func (a *app) keyringSource(path string) string {
	switch {
	case path != "":
		return path
	case a.sources[sealKeys] != "":
		return a.sources[sealKeys]
	default:
		return "--" + sealKeys
	}
}

// requireKeyring is the keyring of a verb that cannot do without.
func (a *app) requireKeyring() (*seal.Ring, error) {
	ring, err := a.keyring()
	if err == nil && ring.First() == "" {
		err = seal.ErrNoKeys
	}
	return ring, err
}

// adviceOnKeys says how to come by a keyring.
func adviceOnKeys() string {
	return "Make one with surveyhooks keys generate --to seal-keys, keep it where the database's backups are not, and set " + twin(sealKeys) + fileSuffix + "=seal-keys."
}

// sealLeftovers seals what was written before there were keys.
func sealLeftovers(ctx context.Context, db *sql.DB, keys *seal.Ring, logger *slog.Logger) error {
	report, err := endpoint.Reseal(ctx, db, keys, true)
	if err != nil {
		return fmt.Errorf("seal secrets from before there were keys: %w", err)
	}
	if report.Sealed > 0 {
		logger.Info("secrets from before there were keys are sealed now; older backups still hold them", "secrets", report.Sealed)
	}
	return nil
}

// keysCheck is the readiness of the keyring, by key ids alone.
func keysCheck(ctx context.Context, db *sql.DB, keys *seal.Ring) string {
	faults, err := endpoint.CheckKeys(ctx, db, keys)
	if err != nil {
		return "unknown"
	}
	var words []string
	for _, fault := range faults {
		if missing, ok := errors.AsType[*seal.MissingKeyError](fault); ok {
			words = append(words, fmt.Sprintf("key %q is missing", missing.KeyID))
		}
		if wrong, ok := errors.AsType[*seal.WrongKeyError](fault); ok {
			words = append(words, fmt.Sprintf("key %q is another one than the one that sealed", wrong.KeyID))
		}
	}
	if len(words) > 0 {
		return strings.Join(words, "; ")
	}
	return "ok"
}

// devKeysFile is the keyring of surveyhooks dev, beside its cluster; "" where there is no place for either.
func devKeysFile() string {
	dir := devClusterConfig().Dir
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, sealKeys)
}

// ensureDevKeys makes the keyring of surveyhooks dev with its first run, for this run and the next ones.
func (a *app) ensureDevKeys() error {
	if a.sealKeys != "" {
		return nil
	}
	a.keysFile = devKeysFile()
	if a.keysFile == "" {
		return usage("there is no cache folder to keep a keyring in: give --%s, made by surveyhooks keys generate", sealKeys)
	}
	if _, err := os.Stat(a.keysFile); err == nil {
		return nil
	}
	key, err := seal.NewKey("dev")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.keysFile), 0o700); err != nil {
		return fmt.Errorf("keep keyring: %w", err)
	}
	if err := writeNew(a.keysFile, key.Reveal()+"\n"); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// writeNew makes a file that only its owner can read, whole or not at all; of two runs at once only one makes it, and
// the other gets fs.ErrExist.
func writeNew(path, content string) error {
	name, err := writeAside(path, content)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	if err := os.Link(name, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeAside writes a file that only its owner can read, on disk and beside path, and returns its name.
func writeAside(path, content string) (name string, err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	_, err = file.WriteString(content)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(file.Name())))
	}
	return file.Name(), nil
}
