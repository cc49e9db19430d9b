package bench_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/bench"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestEveryModeDeliversEverythingOnce(t *testing.T) {
	t.Parallel()

	for _, mode := range bench.Modes() {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			cfg := bench.Config{
				Mode: mode, Endpoints: 30, FanOut: 3, Events: 200, Rate: 40, Duration: time.Second, Payload: 512,
				DSN: schematest.New(t).OwnerDSN, Progress: t.Logf,
			}
			result, err := bench.Run(t.Context(), cfg)
			require.NoError(t, err)
			require.NoError(t, result.Err())
			require.Zero(t, result.Lost)
			require.Zero(t, result.Duplicates)
			require.Positive(t, result.DeliveriesPerS)
			switch mode {
			case bench.Drain:
				require.Equal(t, 200*3, result.Deliveries)
				require.Nil(t, result.P50Ms, "a backlog's latencies say nothing")
			case bench.Throughput:
				require.Equal(t, 200*3, result.Deliveries)
				require.NotNil(t, result.P99Ms)
			case bench.Latency:
				require.Equal(t, 40*3, result.Deliveries)
				require.NotNil(t, result.HealthyOnTimePct)
			case bench.Hang:
				require.Equal(t, 2*(40*3-4*3), result.Deliveries, "what goes to endpoints that hang is counted nowhere")
				require.NotNil(t, result.P99BaselineMs)
				require.NotNil(t, result.HealthyOnTimePct)
			}
			encoded, err := json.Marshal(result)
			require.NoError(t, err)
			require.NotContains(t, string(encoded), "Inf")
		})
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()

	err := bench.Config{Mode: "fast", Endpoints: 15, FanOut: 10, Payload: 1, Events: -1}.Validate()
	for _, fault := range []string{`mode is "fast"`, "multiple of the fan-out", "payload is 1 bytes", "events is -1", "DSN is empty"} {
		require.ErrorContains(t, err, fault)
	}
	require.ErrorContains(t, bench.Config{Mode: bench.Hang, Endpoints: 5, DSN: "x"}.Validate(), "of which one hangs")
	require.NoError(t, bench.Config{DSN: "x"}.Validate())
}

func TestLossIsAnError(t *testing.T) {
	t.Parallel()

	require.NoError(t, bench.Result{Deliveries: 5, Duplicates: 2}.Err(), "at least once allows them")
	require.ErrorContains(t, bench.Result{Deliveries: 5, Lost: 1}.Err(), "1 were lost")
	require.ErrorContains(t, bench.Result{Deliveries: 5, Invented: 2}.Err(), "2 arrived that nobody published")
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReceiverCountsRepeatsAndEndsWithItsInput(t *testing.T) {
	t.Parallel()

	inRead, in := io.Pipe()
	out, outWrite := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- bench.ServeReceiver(context.Background(), inRead, outWrite) }()
	require.NoError(t, json.NewEncoder(in).Encode(map[string]int{"endpoints": 2}))
	var at struct {
		URLs    []string `json:"urls"`
		Control string   `json:"control"`
	}
	require.NoError(t, json.NewDecoder(out).Decode(&at))
	require.Len(t, at.URLs, 2)

	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	post := func(url, id string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("{}"))
		require.NoError(t, err)
		req.Header.Set("X-Webhook-ID", id)
		resp, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	id := uuid.NewString()
	require.Equal(t, http.StatusOK, post(at.URLs[0], id))
	require.Equal(t, http.StatusOK, post(at.URLs[1], id))
	require.Equal(t, http.StatusOK, post(at.URLs[1], id))
	require.Equal(t, http.StatusBadRequest, post(at.URLs[1], "no uuid"))

	resp, err := client.Get(at.Control + "/tally")
	require.NoError(t, err)
	var tally map[string]int
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&tally))
	require.NoError(t, resp.Body.Close())
	require.Equal(t, map[string]int{"unique": 2, "duplicates": 1, "faults": 1}, tally)

	require.NoError(t, in.Close())
	require.NoError(t, <-ended)
}
