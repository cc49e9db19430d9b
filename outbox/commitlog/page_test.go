package commitlog_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

func TestPageFollowsTheOneThatEndedWhereItBegins(t *testing.T) {
	t.Parallel()
	const most = 10
	short := commitlog.Page{
		FromSnapshot: "1:1:", ToSnapshot: "5:5:", AfterXID: "0", UntilXID: "4", UntilPosition: 7, Rows: 3,
	}
	full := short
	full.Rows = most
	next := commitlog.Page{FromSnapshot: "5:5:", ToSnapshot: "9:9:", AfterXID: "0", Rows: 1}
	rest := commitlog.Page{FromSnapshot: "1:1:", ToSnapshot: "5:5:", AfterXID: "4", AfterPosition: 7, Rows: 1}
	require.True(t, next.Follows(short, most), "a short page ends its window, and the next one begins there")
	require.True(t, rest.Follows(full, most), "a full page is gone on with in its window")
	require.False(t, rest.Follows(short, most))
	require.False(t, next.Follows(full, most))
	require.False(t, next.Follows(commitlog.Page{}, most), "nothing is known of what was before the first")

	another := short // was read in between, by another reader
	another.FromSnapshot, another.ToSnapshot = "5:5:", "6:6:"
	require.False(t, commitlog.Page{FromSnapshot: "6:6:", ToSnapshot: "9:9:", AfterXID: "0", Rows: 1}.Follows(short, most))
	require.True(t, commitlog.Page{FromSnapshot: "6:6:", ToSnapshot: "9:9:", AfterXID: "0", Rows: 1}.Follows(another, most))
}
