package access_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

func TestACallerReachesItsOwnCompanyAlone(t *testing.T) {
	t.Parallel()

	mine, other := uuid.New(), uuid.New()
	for name, tc := range map[string]struct {
		caller        access.Caller
		mine, another bool
		changes       bool
	}{
		"Viewer":               {access.Caller{CompanyID: mine, Role: access.Viewer}, true, false, false},
		"Owner":                {access.Caller{CompanyID: mine, Role: access.Owner}, true, false, true},
		"Operator":             {access.Caller{Role: access.Operator}, true, true, true},
		"OperatorOfOneCompany": {access.Caller{CompanyID: mine, Role: access.Operator}, true, false, true},
		"OwnerWithoutCompany":  {access.Caller{Role: access.Owner}, false, false, true},
		"Nobody":               {access.Caller{}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			require.Equal(t, tc.mine, tc.caller.Reaches(mine))
			require.Equal(t, tc.another, tc.caller.Reaches(other))
			require.Equal(t, tc.changes, tc.caller.MayChange())
			require.False(t, tc.caller.Reaches(uuid.Nil) && tc.caller.Role != access.Operator)
		})
	}
}

func TestAContextWithoutACallerLetsNobodyIn(t *testing.T) {
	t.Parallel()

	_, ok := access.From(t.Context())
	require.False(t, ok)
	want := access.Caller{CompanyID: uuid.New(), Role: access.Owner, Actor: "portal:ada"}
	got, ok := access.From(access.With(t.Context(), want))
	require.True(t, ok)
	require.Equal(t, want, got)
}
