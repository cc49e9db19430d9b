package api

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

func (b *testBundle) config(stopping <-chan struct{}) Config {
	return Config{
		DB: b.db.DB, Endpoints: b.store, Recoveries: recovery.New(recovery.Config{DB: b.db.DB}), Links: door{}, Keys: &ring{}, Stopping: stopping,
		Logger: slog.New(slog.NewJSONHandler(b.log, nil)),
	}
}

// door mints links.
type door struct{}

func (door) Mint(_ context.Context, _ access.Caller, l Link) (string, time.Time, error) {
	if l.Role != access.Owner && l.Role != access.Viewer {
		return "", time.Time{}, &InvalidError{Fields: []endpoint.FieldError{{Field: "role", Code: "unknown_role", Message: "use owner or viewer"}}}
	}
	return "https://surveyhooks.test/portal/" + uuid.NewString(), time.Now().Add(cmp.Or(l.Life, time.Minute)), nil
}

// ring keeps API keys in memory.
type ring struct {
	mu  sync.Mutex
	all []Key
}

func (k *ring) Create(_ context.Context, by access.Caller, wanted NewKey) (Key, string, error) {
	if wanted.Name == "" {
		return Key{}, "", &InvalidError{Fields: []endpoint.FieldError{{Field: "name", Code: "required", Message: "name it"}}}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key := Key{ID: uuid.New(), Role: access.Operator, Name: wanted.Name, CreatedBy: by.Actor, CreatedAt: time.Now().UTC()}
	k.all = append(k.all, key)
	return key, "whk_" + uuid.NewString(), nil
}

func (k *ring) List(context.Context, uuid.UUID, int) ([]Key, uuid.UUID, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.all), uuid.Nil, nil
}

func (k *ring) Revoke(_ context.Context, _ access.Caller, id uuid.UUID) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := slices.IndexFunc(k.all, func(key Key) bool { return key.ID == id })
	if i < 0 {
		return ErrNoKey
	}
	k.all = slices.Delete(k.all, i, i+1)
	return nil
}
