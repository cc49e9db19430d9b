package main

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"strings"
)

// login makes the relay's login and the file with its DSN. The file comes first: a login whose password nobody has is
// worth nothing, and a run that was broken off in between goes on with what the file says.
func (b *bootstrap) login(ctx context.Context) error {
	if b.relay == noLogin {
		return nil
	}
	file := b.file("database-url")
	content, err := os.ReadFile(file)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return usage("read DSN: %w", err)
	}
	there, err := b.hasLogin(ctx, b.relay)
	switch {
	case err != nil:
		return err
	case there && missing:
		return fmt.Errorf("the login %s is there, and %s with its password is not: write its DSN there, or give another --relay-login", b.relay, file)
	case missing:
		password := newPassword()
		content = []byte(dsnAs(b.databaseURL, b.relay, password) + "\n")
		if err := writeNew(file, string(content)); err != nil {
			return err
		}
	}
	dsn := strings.TrimSpace(string(content))
	if user := userOf(dsn); user != b.relay {
		return usage("%s is of the login %q, and not of %s: give --relay-login %[2]s, or another folder", file, user, b.relay)
	}
	if !there {
		if err := b.makeLogin(ctx, passwordOf(dsn)); err != nil {
			if missing {
				err = errors.Join(err, os.Remove(file))
			}
			return err
		}
	}
	if _, err := b.grant(ctx, "webhooks_relay", b.relay); err != nil {
		return err
	}
	if err := connects(ctx, dsn); err != nil {
		return unavailable("connect with %s, as %s: %w: does the server's pg_hba.conf let that login in?", file, b.relay, err)
	}
	b.did("relay login", !there, b.relay+", in "+file)
	return nil
}

func connects(ctx context.Context, dsn string) error {
	db, err := openDatabase(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	return ping(ctx, db)
}

func (b *bootstrap) hasLogin(ctx context.Context, name string) (there bool, err error) {
	if err := b.db.QueryRowContext(ctx, hasRole, name).Scan(&there); err != nil {
		return false, fmt.Errorf("look for login: %w", err)
	}
	return there, nil
}

// makeLogin tells the server no password, which its log could keep, but what it checks one with.
func (b *bootstrap) makeLogin(ctx context.Context, password string) error {
	if password == "" {
		return usage("%s has no password: remove it, and a new one is made", b.file("database-url"))
	}
	verifier, err := scramVerifier(password)
	if err != nil {
		return err
	}
	return b.order(ctx, orderLogin, b.relay, verifier)
}

// grant gives a login the rights of a role and reports whether it had them not before.
func (b *bootstrap) grant(ctx context.Context, role, login string) (granted bool, err error) {
	var has bool
	if err := b.db.QueryRowContext(ctx, hasRights, login, role).Scan(&has); err != nil {
		return false, fmt.Errorf("look for membership: %w", err)
	}
	if has {
		return false, nil
	}
	return true, b.order(ctx, orderGrant, role, login)
}

// order has the server write a statement with names in it, which cannot be parameters, and runs it.
func (b *bootstrap) order(ctx context.Context, written string, args ...any) error {
	var statement string
	err := b.db.QueryRowContext(ctx, written, args...).Scan(&statement)
	if err == nil {
		_, err = b.db.ExecContext(ctx, statement)
	}
	if isForbidden(err) {
		return fmt.Errorf("make logins: %w: this login may not; let an administrator do it (CREATE ROLE … LOGIN PASSWORD … IN ROLE webhooks_relay), and give --relay-login none", err)
	}
	if err != nil {
		return fmt.Errorf("make logins: %w", err)
	}
	return nil
}

// newPassword has 192 bits, and no character that a DSN would have to quote.
func newPassword() string {
	random := make([]byte, 24)
	_, _ = rand.Read(random) // since Go 1.24 it never returns an error
	return base64.RawURLEncoding.EncodeToString(random)
}

// scramVerifier is what PostgreSQL keeps of a password: RFC 5803, with the server's own number of iterations.
func scramVerifier(password string) (string, error) {
	const iterations = 4096
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // as above
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	sign := func(words string) []byte {
		mac := hmac.New(sha256.New, salted)
		mac.Write([]byte(words))
		return mac.Sum(nil)
	}
	stored := sha256.Sum256(sign("Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(stored[:]), encode(sign("Server Key"))), nil
}

// whoseDSN finds user and password in a DSN of words.
func whoseDSN() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(^|\s)(user|password|passfile)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)`)
}

// dsnAs is a DSN for another login, which needs no quoting, and neither does its password.
func dsnAs(dsn, login, password string) string {
	u, err := url.Parse(dsn)
	if err != nil || !strings.Contains(dsn, "://") {
		return strings.TrimSpace(fmt.Sprintf("user=%s password=%s %s", login, password, strings.TrimSpace(whoseDSN().ReplaceAllString(dsn, ""))))
	}
	u.User = url.UserPassword(login, password)
	query := u.Query()
	for _, key := range []string{"user", "password", "passfile"} {
		query.Del(key)
	}
	u.RawQuery = query.Encode()
	return u.String()
}

// userOf is the login in a DSN, or "".
func userOf(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && strings.Contains(dsn, "://") {
		return u.User.Username()
	}
	return wordOf(dsn, "user")
}

// passwordOf is the password in a DSN, or "".
func passwordOf(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && strings.Contains(dsn, "://") {
		password, _ := u.User.Password()
		return password
	}
	return wordOf(dsn, "password")
}

// wordOf is the value of a key of whoseDSN, or "".
func wordOf(dsn, key string) string {
	for _, found := range whoseDSN().FindAllStringSubmatch(dsn, -1) {
		if strings.EqualFold(found[2], key) {
			return strings.NewReplacer(`\'`, `'`, `\\`, `\`).Replace(strings.Trim(found[3], "'"))
		}
	}
	return ""
}
