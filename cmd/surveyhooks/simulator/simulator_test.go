package simulator_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/simulator"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConversationsAreCommittedInOrderAndRolledBackStepsLeaveNothing(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var steps []simulator.Step
	s, err := simulator.New(simulator.Config{
		DB: db.DB, Company: uuid.New(), Pause: time.Millisecond, RollbackEach: 4,
		Told: func(step simulator.Step) {
			if steps = append(steps, step); len(steps) == 9 {
				cancel()
			}
		},
	})
	require.NoError(t, err)
	require.NoError(t, s.Run(ctx))

	var committed []string
	var types []outbox.Type
	for i, step := range steps {
		require.NoError(t, step.Err)
		require.Equal(t, (i+1)%4 == 0, step.RolledBack)
		if !step.RolledBack {
			committed = append(committed, step.EventID.String())
			types = append(types, step.Event)
		}
	}
	require.Equal(t, []outbox.Type{
		outbox.ConversationStartedType, outbox.QuestionResponseUpsertedType, outbox.QuestionResponseUpsertedType,
		outbox.QuestionResponseUpsertedType, outbox.QuestionResponseUpsertedType, outbox.ConversationCompletedType,
		outbox.ConversationStartedType,
	}, types)

	var stored []string
	rows, err := db.QueryContext(t.Context(), "SELECT event_id::text FROM webhooks.outbox ORDER BY position")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id string
		require.NoError(t, rows.Scan(&id))
		stored = append(stored, id)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, committed, stored)
}

func TestEagerTransactionsDoNotWait(t *testing.T) {
	t.Parallel()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	steps := 0
	s, err := simulator.New(simulator.Config{
		DB: schematest.New(t).DB, Company: uuid.New(), Pause: time.Hour, Eager: 7,
		Told: func(simulator.Step) {
			if steps++; steps == 7 {
				cancel()
			}
		},
	})
	require.NoError(t, err)
	require.NoError(t, s.Run(ctx))
	require.Equal(t, 7, steps)
}

func TestStepThatCannotBeCommittedIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	broken := db.Open(t)
	require.NoError(t, broken.Close())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var steps []simulator.Step
	s, err := simulator.New(simulator.Config{
		DB: broken, Company: uuid.New(), Pause: time.Millisecond,
		Told: func(step simulator.Step) {
			if steps = append(steps, step); len(steps) == 2 {
				cancel()
			}
		},
	})
	require.NoError(t, err)
	require.NoError(t, s.Run(ctx))
	require.Error(t, steps[0].Err)
	require.Equal(t, steps[0].EventID, steps[1].EventID, "the commit may have happened: the same id is sent once")
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()

	_, err := simulator.New(simulator.Config{Eager: -1})
	for _, fault := range []string{"DB is nil", "Company is not set", "must not be negative"} {
		require.ErrorContains(t, err, fault)
	}
}
