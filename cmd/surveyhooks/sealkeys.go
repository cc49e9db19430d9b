package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/seal"
)

func newSealKeysCommand(a *app) *cobra.Command {
	status, rotate := keysStatus(a), keysRotate(a)
	// Not for generate: the file that the variable names need not be there yet.
	a.sealKeysFlag(status.Flags())
	a.sealKeysFlag(rotate.Flags())
	return group("keys", "Make the keys that secrets and headers are sealed with, see what they seal, and replace them",
		`  surveyhooks keys generate --to seal-keys
  surveyhooks keys status -o json`,
		keysGenerate(a), status, rotate)
}

func keysGenerate(a *app) *cobra.Command {
	var id, file string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make a key at random; with --to put it first into a keyring file, where it seals from then on",
		Long: `Makes a key at random. It is printed, or with --to put before the keys of a keyring file, which is made when it is not
there, readable by its owner alone.

To replace a key: put the new one first in the keyring of every relay, keep the old one behind it, restart them or send
SIGHUP, run surveyhooks keys rotate, and take the old one away once surveyhooks keys status shows nothing for it.

A key that is lost takes every secret and header with it that it sealed: they have to be set anew.`,
		Example: `  surveyhooks keys generate --to seal-keys
  surveyhooks keys generate --id 2026-03 -o json`,
		Args: exactly(),
		RunE: func(*cobra.Command, []string) error {
			if id == "" {
				id = newKeyID(time.Now())
			}
			key, err := seal.NewKey(id)
			if err != nil {
				return usage("--id: %w", err)
			}
			if file == "" {
				a.say("keep it secret, and keep it: what it has sealed opens with nothing else")
				return a.print(map[string]string{"id": id, "key": key.Reveal()}, &table{rows: [][]string{{key.Reveal()}}})
			}
			if err := putFirst(file, key); err != nil {
				return err
			}
			a.say("key %s stands first in %s; what older keys have sealed is sealed with it by surveyhooks keys rotate", id, file)
			return a.print(map[string]string{"id": id, "file": file}, &table{rows: [][]string{{id}}})
		},
	}
	cmd.Flags().StringVar(&id, "id", "", "the key's `name`, no secret (default: today's date and four digits)")
	cmd.Flags().StringVar(&file, "to", "", "put it first into this keyring `file`, made when it is not there, instead of printing it")
	return cmd
}

// newKeyID says when the key was made.
func newKeyID(now time.Time) string {
	random := make([]byte, 2)
	_, _ = rand.Read(random) // since Go 1.24 it never returns an error
	return now.UTC().Format("2006-01-02-") + hex.EncodeToString(random)
}

// putFirst writes the file anew and puts it in the old one's place: a crash leaves one of them, whole.
func putFirst(file string, key seal.Key) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return usage("read keyring: %w", err)
	}
	content := key.Reveal() + "\n" + string(old)
	if _, err := seal.ParseRing(content); err != nil {
		return usage("put the key into %s: %w", file, err)
	}
	name, err := writeAside(file, content)
	if err != nil {
		return &exitError{code: exitFailure, err: err}
	}
	if err := errors.Join(keepOwner(file, name), os.Rename(name, file)); err != nil {
		return fmt.Errorf("put the key into %s: %w", file, errors.Join(err, os.Remove(name)))
	}
	return nil
}

// keepOwner gives a file the owner and group of another one, if that is there: the relay has to read it as before.
func keepOwner(like, name string) error {
	info, err := os.Stat(like)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := os.Chown(name, int(stat.Uid), int(stat.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(name, info.Mode().Perm()&^0o007) // others never read keys
}

// keyLine is what one key has sealed, as keys status tells it.
type keyLine struct {
	endpoint.SealCount

	Role string `json:"role"` // seals, opens, missing, or none: never sealed
}

func keysStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Count secrets and headers by the key that sealed them, and open each one; exit 1 when one does not open",
		Example: `  surveyhooks keys status
  SURVEYHOOKS_SEAL_KEYS_FILE=seal-keys surveyhooks keys status -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
				keys, err := a.keyring()
				if err != nil {
					return err
				}
				report, err := endpoint.Seals(ctx, db, keys)
				if err != nil {
					return err
				}
				lines := keyLines(report, keys)
				t := &table{head: []string{"KEY", "ROLE", "SECRETS", "HEADERS", "NOT OPENED"}}
				unopened := 0
				for _, l := range lines {
					t.add(orDash(l.KeyID), l.Role, number(l.Secrets), number(l.Headers), number(l.Unopened))
					unopened += l.Unopened
				}
				if err := a.print(map[string]any{"keys": lines, "faults": report.Faults}, t); err != nil {
					return err
				}
				return a.unopened(unopened, report.Faults)
			})
		},
	}
}

// keyLines has the keys of the ring first, in its order, and then what it lacks.
func keyLines(report endpoint.SealReport, keys *seal.Ring) []keyLine {
	counts := map[string]endpoint.SealCount{}
	for _, count := range report.Keys {
		counts[count.KeyID] = count
	}
	lines := []keyLine{}
	for i, id := range keys.IDs() {
		role := "opens"
		if i == 0 {
			role = "seals"
		}
		count := counts[id]
		count.KeyID = id
		lines = append(lines, keyLine{count, role})
	}
	for _, count := range report.Keys {
		switch {
		case count.KeyID == "":
			lines = append(lines, keyLine{count, "none"})
		case !slices.Contains(keys.IDs(), count.KeyID):
			lines = append(lines, keyLine{count, "missing"})
		}
	}
	return lines
}

// unopened is the failure of a verb that has met values which it could not open.
func (a *app) unopened(n int, faults []string) error {
	if n == 0 {
		return nil
	}
	for _, fault := range faults {
		a.say("%s", fault)
	}
	return &exitError{code: exitFailure, err: fmt.Errorf("%d secrets or headers cannot be opened: deliveries of their endpoints wait", n)}
}

func keysRotate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "Seal everything with the first key; it may be broken off, run again, and run beside relays",
		Long: `Seals every secret and header that another key has sealed, or none, with the first key of the keyring.

Give the new key to every relay before: one that lacks it goes on with what it has opened, and takes up nothing new.`,
		Example: `  surveyhooks keys rotate
  SURVEYHOOKS_SEAL_KEYS_FILE=seal-keys surveyhooks keys rotate -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
				keys, err := a.requireKeyring()
				if err != nil {
					return err
				}
				report, err := endpoint.Reseal(ctx, db, keys, false)
				if err != nil {
					return err
				}
				t := &table{head: []string{"KEY", "SEALED", "NOT OPENED"}}
				t.add(keys.First(), number(report.Sealed), number(report.Unopened))
				if err := a.print(report, t); err != nil {
					return err
				}
				return a.unopened(report.Unopened, report.Faults)
			})
		},
	}
}
