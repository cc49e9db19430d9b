package breaker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNamesAreStable(t *testing.T) {
	t.Parallel()

	for state, name := range map[State]string{Closed: "closed", Open: "open", HalfOpen: "half_open"} {
		require.Equal(t, name, state.String())
		parsed, err := ParseState(name)
		require.NoError(t, err)
		require.Equal(t, state, parsed)
	}
	_, err := ParseState("half-open")
	require.ErrorContains(t, err, "must be closed, open or half_open")
	require.Equal(t, "state(9)", State(9).String())

	require.Equal(t, "excluded", Verdict(0).String())
	require.Equal(t, "success", Success.String())
	require.Equal(t, "endpoint_fault", EndpointFault.String())
	require.Equal(t, "verdict(9)", Verdict(9).String())
	require.Equal(t, errExcluded, Verdict(9).err(), "an unknown verdict blames nobody")

	until := time.Date(2024, 3, 6, 13, 0, 0, 0, time.FixedZone("CET", 3600))
	require.EqualError(t, &OpenError{Until: until}, "circuit breaker is open until 2024-03-06T12:00:00Z")
}

func TestValidate(t *testing.T) {
	t.Parallel()

	require.NoError(t, Config{}.Validate())
	require.ErrorContains(t, Config{Open: -1}.Validate(), "breaker open time is -1ns")
}
