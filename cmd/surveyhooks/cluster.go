package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chattosurvey/surveyhooks/schema"
	"github.com/chattosurvey/surveyhooks/schema/cluster"
)

// The logins of the private cluster, each a member of one role: what runs there has no more rights than in production.
const (
	devRelay = "surveyhooks_relay"
	devApp   = "surveyhooks_app"
)

// devSource is where a database's address came from when nobody gave one.
const devSource = "the running cluster of surveyhooks dev"

// asLogin is a DSN of the private cluster for one of its logins.
func asLogin(dsn, login string) string {
	before, after, _ := strings.Cut(dsn, "user=surveyhooks ")
	return before + "user=" + login + " " + after
}

// migrateDev migrates the private cluster as its owner, and makes the logins.
func migrateDev(ctx context.Context, dsn string) error {
	db, err := openDatabase(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := schema.Migrate(ctx, db); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, makeLogins); err != nil {
		return fmt.Errorf("make logins: %w", err)
	}
	return nil
}

// devClusterConfig is where the private cluster of surveyhooks dev lives, for every verb that starts or finds it.
func devClusterConfig() cluster.Config {
	cache, err := os.UserCacheDir()
	if err != nil {
		return cluster.Config{}
	}
	return cluster.Config{Dir: filepath.Join(cache, "surveyhooks", "dev")}
}

// runningDevCluster is the owner's DSN of the private cluster, if it runs. It asks the server's own lock file, since
// cluster.Start would start what it does not find.
func runningDevCluster(ctx context.Context) (string, bool) {
	dir := devClusterConfig().Dir
	if dir == "" {
		return "", false
	}
	sum := sha256.Sum256([]byte(dir))
	moved := fmt.Sprintf("/var/tmp/surveyhooks-pg-%x", sum[:6]) // where package cluster goes when root's folder is shut to others
	for _, folder := range []string{dir, moved} {
		files, _ := filepath.Glob(filepath.Join(folder, "data-*", "postmaster.pid")) // the pattern is well formed
		for _, file := range files {
			if dsn, ok := dsnOf(file); ok && answers(ctx, dsn) {
				return dsn, true
			}
		}
	}
	return "", false
}

// dsnOf reads port and socket folder, lines 4 and 5 of a postmaster.pid.
func dsnOf(file string) (string, bool) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 5 || lines[4] == "" {
		return "", false
	}
	return fmt.Sprintf("host=%s port=%s user=surveyhooks dbname=postgres sslmode=disable", lines[4], lines[3]), true
}

func answers(ctx context.Context, dsn string) bool {
	db, err := openDatabase(dsn)
	if err != nil {
		return false
	}
	defer db.Close()
	return ping(ctx, db) == nil
}
