package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/cluster"
)

func TestRunningPrivateClusterIsTheDefaultDatabase(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	config := devClusterConfig()
	config.Unsafe = true
	server, err := cluster.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(server.Dir)) })

	s := shell{t: t}
	s.ok("migrate", "up")
	require.Empty(t, s.list("endpoints", "list"))
	for _, setting := range s.list("config", "show") {
		if setting["name"] == "database-url" {
			require.Contains(t, setting["source"], "surveyhooks dev")
		}
	}

	require.NoError(t, server.Stop())
	require.Equal(t, exitUnavailable, s.run("endpoints", "list").code)
}
