package delivery_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// page has one delivery of each kind; only the first two are to be sent again.
func (b testBundle) page() delivery.RetryPage {
	kind := func(id int64, change func(*delivery.Known)) delivery.Known {
		k := b.known
		k.DeliveryID = id
		change(&k)
		return k
	}
	return delivery.RetryPage{
		Scope: endpoint.Company(b.known.CompanyID), Actor: "bob", EndpointID: b.known.EndpointID,
		Deliveries: []delivery.Known{
			b.known,
			kind(8, func(k *delivery.Known) { k.State, k.Generation, k.FirstAttemptAt = fact.Delivered, 3, time.Time{} }),
			kind(9, func(k *delivery.Known) { k.State = fact.Cancelled }),
			kind(10, func(k *delivery.Known) { k.State = fact.Retrying }),
			kind(11, func(k *delivery.Known) { k.EventID = uuid.New() }),
			kind(12, func(k *delivery.Known) { k.CompanyID = uuid.New() }),
			kind(13, func(k *delivery.Known) { k.EndpointID = uuid.New() }),
		},
	}
}

func (b testBundle) apply(t *testing.T, p delivery.RetryPage) (int, error) {
	t.Helper()

	tx, err := b.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	n, err := p.Apply(t.Context(), tx)
	if err == nil {
		require.NoError(t, tx.Commit())
	}
	return n, err
}

func TestRetryPage(t *testing.T) {
	t.Parallel()

	t.Run("DoesWhatRetryDoesForEachThatIsOver", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		n, err := b.apply(t, b.page())
		require.NoError(t, err)
		require.Equal(t, 2, n)
		row := b.pending(t)
		require.True(t, row.first.Equal(b.known.FirstAttemptAt), "the body stays byte-identical")
		row.first = nil
		require.Equal(t, pendingRow{generation: 2, started: 6, trigger: "manual", due: true}, row)
		told := func(id int64, generation int) fact.Delivery {
			return fact.Delivery{
				DeliveryID: id, EndpointID: b.known.EndpointID, EventID: b.known.EventID, Generation: generation,
				State: fact.Pending, Actor: "bob", Reason: fact.ByRequest,
			}
		}
		require.Equal(t, []fact.Delivery{told(7, 2), told(8, 4)}, b.replayed(t))
	})

	t.Run("TakesNoGenerationTwiceThoughTheHistoryLags", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		_, err := b.apply(t, b.page())
		require.NoError(t, err)
		_, err = b.db.Exec(`DELETE FROM webhooks.pending`) // both replays are over, and the history has not heard of it
		require.NoError(t, err)
		n, err := b.apply(t, b.page())
		require.NoError(t, err)
		require.Zero(t, n)
		require.Len(t, b.replayed(t), 2)
	})

	t.Run("AgainDoesNothingMore", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		_, err := b.apply(t, b.page())
		require.NoError(t, err)
		n, err := b.apply(t, b.page())
		require.NoError(t, err)
		require.Zero(t, n)
		require.Len(t, b.replayed(t), 2)

		b.exec(t, `DELETE FROM webhooks.pending`) // they are over, and the history has not heard of it
		n, err = b.apply(t, b.page())
		require.NoError(t, err)
		require.Zero(t, n, "no generation is given twice")
		require.Len(t, b.replayed(t), 2)
	})

	t.Run("EmptyIsNothing", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		p := b.page()
		p.Deliveries = nil
		n, err := b.apply(t, p)
		require.NoError(t, err)
		require.Zero(t, n)
	})

	t.Run("ReachesItsScopeAlone", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		for _, scope := range []endpoint.Scope{{}, endpoint.Company(uuid.New())} {
			p := b.page()
			p.Scope = scope
			_, err := b.apply(t, p)
			var missing *endpoint.NotFoundError
			require.ErrorAs(t, err, &missing)
		}
	})

	t.Run("NobodyIsAnError", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		p := b.page()
		p.Actor = " "
		_, err := b.apply(t, p)
		require.ErrorContains(t, err, "Actor is empty")
	})

	t.Run("DeletedEndpointTakesNothing", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		ref := endpoint.Ref{Scope: endpoint.AnyCompany(), ID: b.known.EndpointID, Actor: "ada"}
		require.NoError(t, b.store.Delete(t.Context(), ref))
		_, err := b.apply(t, b.page())
		var deleted *delivery.EndpointDeletedError
		require.ErrorAs(t, err, &deleted)
	})
}
