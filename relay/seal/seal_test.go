package seal

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func newKey(t testing.TB, id string) Key {
	t.Helper()
	key, err := NewKey(id)
	require.NoError(t, err)
	return key
}

func newRing(t testing.TB, keys ...Key) *Ring {
	t.Helper()
	ring, err := NewRing(keys...)
	require.NoError(t, err)
	return ring
}

func place() Binding {
	return Binding{Purpose: "signing secret", Company: uuid.New(), Endpoint: uuid.New(), Version: 3}
}

func TestFirstKeySealsAndAllOpen(t *testing.T) {
	t.Parallel()
	old, fresh, at := newKey(t, "old"), newKey(t, "new"), place()
	id, sealed, err := newRing(t, old).Seal([]byte("tea"), at)
	require.NoError(t, err)
	require.Equal(t, "old", id)
	require.Len(t, sealed, len("tea")+Overhead)

	both := newRing(t, fresh, old)
	value, err := both.Open(id, sealed, at)
	require.NoError(t, err)
	require.Equal(t, "tea", string(value))
	id, again, err := both.Seal(value, at)
	require.NoError(t, err)
	require.Equal(t, "new", id)
	_, twice, err := both.Seal(value, at)
	require.NoError(t, err)
	require.NotEqual(t, again, twice, "a nonce is never used again")
}

func TestValueOpensOnlyWhereItWasSealed(t *testing.T) {
	t.Parallel()
	ring, at := newRing(t, newKey(t, "k")), place()
	id, sealed, err := ring.Seal([]byte("tea"), at)
	require.NoError(t, err)
	opened, err := ring.Open(id, sealed, at)
	require.NoError(t, err)
	require.Equal(t, "tea", string(opened))
	for name, move := range map[string]func(*Binding){
		"Purpose":  func(b *Binding) { b.Purpose = "header signing secret" },
		"Company":  func(b *Binding) { b.Company = uuid.New() },
		"Endpoint": func(b *Binding) { b.Endpoint = uuid.New() },
		"Version":  func(b *Binding) { b.Version++ },
		"Swapped":  func(b *Binding) { b.Company, b.Endpoint = b.Endpoint, b.Company },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			elsewhere := at
			move(&elsewhere)
			_, err := ring.Open(id, sealed, elsewhere)
			var altered *AlteredError
			require.ErrorAs(t, err, &altered)
			require.Equal(t, elsewhere, altered.Place)
			require.ErrorContains(t, err, elsewhere.Endpoint.String())
			require.True(t, IsFault(err))
		})
	}
}

func TestEachByteIsAuthenticated(t *testing.T) {
	t.Parallel()
	ring, at := newRing(t, newKey(t, "k")), place()
	id, sealed, err := ring.Seal([]byte("tea"), at)
	require.NoError(t, err)
	for i := range sealed {
		changed := append([]byte(nil), sealed...)
		changed[i] ^= 1
		_, err := ring.Open(id, changed, at)
		require.True(t, IsFault(err), "byte %d: %v", i, err)
		_, err = ring.Open(id, sealed[:i], at)
		var altered *AlteredError
		require.ErrorAs(t, err, &altered, "cut at %d", i)
	}
	_, err = ring.Open(id, append(sealed, 0), at)
	require.True(t, IsFault(err))
}

func TestMissingAndWrongKeyAreToldApart(t *testing.T) {
	t.Parallel()
	key, at := newKey(t, "mine"), place()
	id, sealed, err := newRing(t, key).Seal([]byte("tea"), at)
	require.NoError(t, err)

	_, err = newRing(t, newKey(t, "other"), newKey(t, "third")).Open(id, sealed, at)
	var missing *MissingKeyError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, &MissingKeyError{KeyID: "mine", Have: []string{"other", "third"}}, missing)
	require.ErrorContains(t, err, `"mine" is not in the keyring (it has other, third): add it`)

	_, err = newRing(t, newKey(t, "mine")).Open(id, sealed, at)
	var wrong *WrongKeyError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, "mine", wrong.KeyID)

	var none *Ring
	_, err = none.Open(id, sealed, at)
	require.ErrorContains(t, err, "it is empty")
	_, _, err = none.Seal([]byte("tea"), at)
	require.ErrorIs(t, err, ErrNoKeys)

	require.NoError(t, newRing(t, key).Has(id, sealed[:9]), "nine bytes tell")
	require.ErrorAs(t, newRing(t, newKey(t, "mine")).Has(id, sealed[:9]), &wrong)
	require.ErrorAs(t, none.Has(id, sealed[:9]), &missing)
}

func TestReplaceReachesEverybodyWhoHoldsTheRing(t *testing.T) {
	t.Parallel()
	key, at := newKey(t, "late"), place()
	_, sealed, err := newRing(t, key).Seal([]byte("tea"), at)
	require.NoError(t, err)
	held := newRing(t, newKey(t, "early"))
	_, err = held.Open("late", sealed, at)
	require.True(t, IsFault(err))
	held.Replace(newRing(t, key))
	_, err = held.Open("late", sealed, at)
	require.NoError(t, err)
	require.Equal(t, []string{"late"}, held.IDs())
}

func TestParseRing(t *testing.T) {
	t.Parallel()
	a, b := newKey(t, "2026-03.a_b"), newKey(t, "b")
	for name, text := range map[string]string{
		"Commas":           a.Reveal() + "," + b.Reveal(),
		"Lines":            a.Reveal() + "\n" + b.Reveal() + "\n",
		"CommentsAndBlank": "# sealing keys, newest first\n\n " + a.Reveal() + " ,\r\n" + b.Reveal() + ",",
	} {
		ring, err := ParseRing(text)
		require.NoError(t, err, name)
		require.Equal(t, []string{"2026-03.a_b", "b"}, ring.IDs(), name)
		require.Equal(t, "2026-03.a_b", ring.First(), name)
	}
	empty, err := ParseRing(" \n# nothing\n")
	require.NoError(t, err)
	require.Empty(t, empty.First())

	encoded := strings.TrimPrefix(b.Reveal(), "b:")
	for name, tt := range map[string]struct{ text, says string }{
		"NoID":         {encoded, "key 1: it has no colon"},
		"Swapped":      {encoded + ":b", "key 1: what stands before the colon is no id"},
		"UpperCaseID":  {"B:" + encoded, "is no id"},
		"LongID":       {strings.Repeat("a", 33) + ":" + encoded, "is no id"},
		"SecondIsBad":  {a.Reveal() + ",b:" + encoded[:40], `key 2: after "b:"`},
		"NotBase64":    {"b:" + strings.Repeat("!", 44), "padded standard base64"},
		"URLBase64":    {"b:" + base64.URLEncoding.EncodeToString([]byte(strings.Repeat("\xff", 32))), "padded standard base64"},
		"Short":        {"b:" + base64.StdEncoding.EncodeToString(make([]byte, 16)), "32 bytes, it is that of 16"},
		"SameID":       {a.Reveal() + "\n" + "2026-03.a_b:" + encoded, "is there twice"},
		"SameKeyTwice": {b.Reveal() + ",c:" + encoded, "are the same key"},
	} {
		t.Run("Refuses"+name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseRing(tt.text)
			require.ErrorContains(t, err, tt.says)
			require.NotContains(t, err.Error(), encoded[:8], "an error never quotes a key")
		})
	}
	_, err = NewRing(Key{})
	require.ErrorContains(t, err, "empty")
	_, err = NewKey("No")
	require.ErrorContains(t, err, "want 1 to 32")
}

func TestKeyNeverPrints(t *testing.T) {
	t.Parallel()
	key := newKey(t, "k")
	encoded := strings.TrimPrefix(key.Reveal(), "k:")
	raw := string(key.bytes())
	ring := newRing(t, key)
	type holder struct {
		key  Key
		ring *Ring
		Open Key
	}
	h := holder{key, ring, key}
	var shown strings.Builder
	for _, value := range []any{key, &key, ring, h, &h, []Key{key}, map[string]any{"k": key, "r": ring}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&shown, verb+"\n", value)
		}
		text, err := json.Marshal(value)
		require.NoError(t, err)
		shown.Write(text)
	}
	slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "key", key, "ring", ring, "holder", h)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("x", "key", key, "ring", ring, "holder", h)
	for _, leak := range []string{encoded, raw, fmt.Sprintf("%x", raw), fmt.Sprintf("%X", raw), strings.Trim(fmt.Sprintf("%d", key.bytes()), "[]")} {
		require.NotContains(t, shown.String(), leak)
	}
	require.Contains(t, shown.String(), "k:***")
}

// FuzzSeal gives the ring whatever may stand in a row: it never panics, and opens nothing that it has not sealed for
// that place.
func FuzzSeal(f *testing.F) {
	key := Key{id: "k", material: &material{new([]byte)}}
	*key.material.bytes = []byte(strings.Repeat("k", keyBytes))
	ring := newRing(f, key)
	at := Binding{Purpose: "signing secret", Version: 1}
	elsewhere := at
	elsewhere.Version = 2
	_, moved, err := ring.Seal([]byte("tea"), elsewhere)
	require.NoError(f, err)
	f.Add("k", moved)
	f.Add("k", moved[:head])
	f.Add("other", moved)
	f.Add("", []byte{})
	f.Add("k", []byte{form})
	f.Fuzz(func(t *testing.T, id string, sealed []byte) {
		value, err := ring.Open(id, sealed, at)
		require.True(t, IsFault(err), "%v", err)
		require.Nil(t, value)
		_ = ring.Has(id, sealed)
	})
}

// FuzzRing reads any text as a keyring: what is read is there again when it is written, and what is refused is not quoted.
func FuzzRing(f *testing.F) {
	good := "k:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", keyBytes)))
	f.Add(good)
	f.Add(good + "\n#\nb:" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("b", keyBytes))))
	f.Add("k:")
	f.Add(good[2:])
	f.Fuzz(func(t *testing.T, text string) {
		ring, err := ParseRing(text)
		if err != nil {
			require.Less(t, len(err.Error()), 200, "an error tells of a key, and does not repeat it")
			return
		}
		for _, id := range ring.IDs() {
			require.Regexp(t, idForm, id)
			require.Contains(t, text, id+":")
		}
	})
}
