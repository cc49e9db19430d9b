package relaytest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/seal"
)

// Keys is a keyring of new keys with these ids, the first of which seals; without ids it has one key.
func Keys(t testing.TB, ids ...string) *seal.Ring {
	t.Helper()
	if len(ids) == 0 {
		ids = []string{"test"}
	}
	keys := make([]seal.Key, len(ids))
	for i, id := range ids {
		keys[i] = Key(t, id)
	}
	return Ring(t, keys...)
}

// Key is a new key.
func Key(t testing.TB, id string) seal.Key {
	t.Helper()
	key, err := seal.NewKey(id)
	require.NoError(t, err)
	return key
}

// Ring is a keyring of these keys.
func Ring(t testing.TB, keys ...seal.Key) *seal.Ring {
	t.Helper()
	ring, err := seal.NewRing(keys...)
	require.NoError(t, err)
	return ring
}
