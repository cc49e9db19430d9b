package retry

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestZeroPolicyIsTheDocumentedSchedule(t *testing.T) {
	t.Parallel()

	var p Policy
	require.NoError(t, p.Validate())
	require.Equal(t, 6, p.Attempts())
	want := []time.Duration{10 * time.Second, time.Minute, 6 * time.Minute, 36 * time.Minute, 3*time.Hour + 36*time.Minute}
	require.Equal(t, want, p.Schedule())
	for i, delay := range want {
		got, ok := p.Next(i+1, 0, 0)
		require.True(t, ok)
		require.Equal(t, delay, got)
	}
	_, ok := p.Next(6, 0, 0)
	require.False(t, ok, "the sixth attempt is the last")
}

func TestNext(t *testing.T) {
	t.Parallel()

	tests := map[string]struct {
		completed  int
		retryAfter time.Duration
		rnd        float64
		want       time.Duration
	}{
		"JitterAddsUpToAFifth":            {2, 0, 0.5, 66 * time.Second},
		"RetryAfterMovesLater":            {1, time.Hour, 0, time.Hour},
		"RetryAfterNeverMovesEarlier":     {3, time.Second, 0, 6 * time.Minute},
		"RetryAfterIsCappedAtADay":        {1, 1000 * time.Hour, 0.9, 24 * time.Hour},
		"NegativeRetryAfterIsIgnored":     {1, -time.Hour, 0, 10 * time.Second},
		"NothingCompletedCountsAsFirst":   {0, 0, 0, 10 * time.Second},
		"NaNIsNoJitter":                   {1, 0, math.NaN(), 10 * time.Second},
		"RandomAboveOneStaysWithinAFifth": {1, 0, 1e9, 12 * time.Second},
		"RandomBelowZeroIsNoJitter":       {1, 0, -1, 10 * time.Second},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := Policy{}.Next(tc.completed, tc.retryAfter, tc.rnd)
			require.True(t, ok)
			require.Equal(t, tc.want, got)
		})
	}

	t.Run("RetryAfterDoesNotReviveAnExhaustedDelivery", func(t *testing.T) {
		t.Parallel()
		_, ok := Policy{}.Next(6, time.Hour, 0)
		require.False(t, ok)
	})
}

func TestValidateNamesEveryFault(t *testing.T) {
	t.Parallel()

	err := Policy{Retries: -1, First: -time.Second, Factor: math.NaN(), Jitter: 2, MaxRetryAfter: -1}.Validate()
	for _, part := range []string{
		"retries is -1: it must be 1 to 50", "first delay is -1s", "factor is NaN", "jitter is 2", "max retry-after is -1ns",
	} {
		require.ErrorContains(t, err, part)
	}
	require.ErrorContains(t, Policy{Retries: 51}.Validate(), "retries is 51")
	require.ErrorContains(t, Policy{Factor: math.Inf(1)}.Validate(), "factor is +Inf")
	require.ErrorContains(t, Policy{Factor: 0.5}.Validate(), "factor is 0.5")
	require.ErrorContains(t, Policy{Retries: 9}.Validate(), "the last delay is above")
	require.NoError(t, Policy{Retries: 50, First: time.Millisecond, Factor: 1}.Validate())
}

func drawPolicy(t *rapid.T) Policy {
	p := Policy{
		Retries:       rapid.IntRange(0, mostRetries).Draw(t, "retries"),
		First:         time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "first")),
		Factor:        rapid.OneOf(rapid.Just(0.0), rapid.Float64Range(1, 10)).Draw(t, "factor"),
		Jitter:        rapid.Float64Range(0, 1).Draw(t, "jitter"),
		MaxRetryAfter: time.Duration(rapid.Int64Range(0, int64(longest)).Draw(t, "maxRetryAfter")),
	}
	if p.Validate() != nil {
		p.Retries, p.Factor = 3, 2 // Valid with any of the other draws.
	}
	return p
}

func TestNextKeepsItsPromises(t *testing.T) {
	t.Parallel()

	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		require.NoError(t, p.Validate())
		full := p.WithDefaults()
		schedule := p.Schedule()
		require.Len(t, schedule, p.Attempts()-1)
		completed := rapid.IntRange(1, mostRetries+5).Draw(t, "completed")
		retryAfter := time.Duration(rapid.Int64().Draw(t, "retryAfter"))
		rnd := rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "rnd")

		delay, ok := p.Next(completed, retryAfter, rnd)
		require.Equal(t, completed < p.Attempts(), ok)
		if !ok {
			require.Zero(t, delay)
			return
		}
		base := schedule[completed-1]
		require.GreaterOrEqual(t, delay, base, "never earlier than the schedule")
		jittered, _ := p.Next(completed, 0, rnd)
		require.LessOrEqual(t, float64(jittered), float64(base)*(1+full.Jitter)+1, "jitter stays within its share")
		require.Equal(t, max(jittered, min(retryAfter, full.MaxRetryAfter)), delay)
		if completed > 1 {
			require.GreaterOrEqual(t, base, schedule[completed-2], "delays never shrink")
		}
	})
}

func TestNextSurvivesAnyPolicy(t *testing.T) {
	t.Parallel()

	rapid.Check(t, func(t *rapid.T) {
		weird := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1)}))
		p := Policy{
			Retries:       rapid.Int().Draw(t, "retries"),
			First:         time.Duration(rapid.Int64().Draw(t, "first")),
			Factor:        weird.Draw(t, "factor"),
			Jitter:        weird.Draw(t, "jitter"),
			MaxRetryAfter: time.Duration(rapid.Int64().Draw(t, "maxRetryAfter")),
		}
		delay, _ := p.Next(rapid.Int().Draw(t, "completed"), time.Duration(rapid.Int64().Draw(t, "retryAfter")), weird.Draw(t, "rnd"))
		require.GreaterOrEqual(t, delay, time.Duration(0))
		require.LessOrEqual(t, delay, longest)
		require.LessOrEqual(t, len(p.Schedule()), mostRetries)
	})
}
