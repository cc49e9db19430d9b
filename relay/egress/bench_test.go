package egress

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
)

func BenchmarkDo(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}))
	defer server.Close()
	policy := Policy{Insecure: true}
	u, err := policy.ParseURL(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	client := NewClient(Config{Policy: policy})
	defer client.Close()
	body := bytes.Repeat([]byte("x"), 1024)
	fields := wire.Request{ID: uuid.New(), Type: "conversation.completed", Signature: strings.Repeat("s", 47)}.Fields()
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			got := client.Do(context.Background(), &Request{
				URL:    u,
				Header: fields, Body: body,
			})
			if got.Status != http.StatusOK {
				b.Errorf("fault %s: %s", got.Fault, got.Detail)
				return
			}
		}
	})
}
