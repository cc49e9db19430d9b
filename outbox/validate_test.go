package outbox

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func TestFaultsNameEventFieldAndCure(t *testing.T) {
	t.Parallel()

	company := fixed(2)
	survey, respondent, conversation, _ := parts()
	typed := ConversationStarted{survey, respondent, conversation}
	good := func(change func(*Event)) Event {
		event := Event{Type: "made.up", CompanyID: company, Data: Raw(`{}`)}
		change(&event)
		return event
	}
	rawTest := func(conversation string) Event {
		return good(func(e *Event) {
			e.Type, e.Data = TestWebhookType, Raw(`{"survey":{"id":"`+fixed(1).String()+`","name":"","company_id":"`+company.String()+
				`"},"respondent":{"id":"`+fixed(1).String()+`","first_name":"","last_name":"","phone":"","verified":true}`+conversation+`}`)
		})
	}
	raw := func(data string) Event { return good(func(e *Event) { e.Data = Raw(data) }) }

	for name, test := range map[string]struct {
		event Event
		field string
		text  string
	}{
		"B42_NoType":             {good(func(e *Event) { e.Type = "" }), "type", `event 1: type is "": want 1 to 64 of a-z 0-9 _ . such as conversation.started`},
		"B42_UpperCaseType":      {good(func(e *Event) { e.Type = "Conversation" }), "type", `is "Conversation"`},
		"B42_TypeWithNewline":    {good(func(e *Event) { e.Type = "a\n" }), "type", `is "a\n"`},
		"B42_LongType":           {good(func(e *Event) { e.Type = Type(strings.Repeat("a", 65)) }), "type", "1 to 64"},
		"CompanyMissing":         {good(func(e *Event) { e.CompanyID = uuid.Nil }), "company_id", "event 1: company_id is not set: want the company that the survey belongs to"},
		"B44_YearZero":           {good(func(e *Event) { e.CreatedAt = time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC) }), "created_at", "is in year 0 (UTC): want a year of 1 to 9999"},
		"B44_YearTenThousandUTC": {good(func(e *Event) { e.CreatedAt = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("W", -7200)) }), "created_at", "year 10000"},
		"EndpointZero":           {good(func(e *Event) { e.EndpointID = &uuid.UUID{} }), "endpoint_id", "is the zero UUID"},
		"B38_NoData":             {good(func(e *Event) { e.Data = nil }), "data", "is not set"},
		"B38_NilPointer":         {good(func(e *Event) { e.Data = (*ConversationStarted)(nil) }), "data", "is not set"},
		"B38_EmptyData":          {raw(" \n"), "data", "is empty: want a JSON object"},
		"B36_BrokenJSON":         {raw(`{"a":`), "data", "is not valid JSON"},
		"B36_TwoObjects":         {raw(`{}{}`), "data", "is not valid JSON"},
		"B36_ByteOrderMark":      {raw("\ufeff{}"), "data", "is not valid JSON"},
		"B38_Array":              {raw(`[]`), "data", "is JSON but no object"},
		"B38_Null":               {raw(`null`), "data", "is JSON but no object"},
		"B36_NotUTF8":            {raw("{\"a\":\"\xff\"}"), "data", "is not valid UTF-8"},
		"B43_DataTooLarge":       {raw(`{"a":"` + strings.Repeat("x", MaxDataBytes-7) + `"}`), "data", "has 262145 bytes: want at most 262144"},
		"B39_ReservedEventType":  {raw(`{"event_type":1}`), "data.event_type", "is given: want no such key"},
		"B39_ReservedEscaped":    {raw(`{"a":{},"meta\u0064ata":{}}`), "data.metadata", "is given"},
		"RawOtherCompany":        {raw(`{"survey":{"company_id":"` + fixed(9).String() + `"}}`), "data.survey.company_id", "is another company's: want the event's company_id, " + company.String()},
		"RawLacksAMember":        {rawTest(``), "data.conversation", "event 1: data.conversation is missing: want an object"},
		"RawOfAnotherKind":       {rawTest(`,"conversation":{"id":"4711","channel_type":"","state":"","started_at":"2024-03-06T12:00:00Z"}`), "data.conversation.id", "want a UUID"},
		"RawNull":                {rawTest(`,"conversation":null`), "data.conversation", "want an object"},
		"TypedOfAnotherType":     {good(func(e *Event) { e.Type, e.Data = TestWebhookType, typed }), "type", `with the payload of conversation.started`},
		"TypedOtherCompany":      {good(func(e *Event) { e.Type, e.CompanyID, e.Data = "", fixed(9), typed }), "data.survey.company_id", "want the event's company_id, " + fixed(9).String()},
		"TypedWithoutSurvey":     {good(func(e *Event) { e.Type, e.Data = "", ConversationStarted{Survey: Survey{CompanyID: company}} }), "data.survey.id", "is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := marshal([]Event{raw(`{}`), test.event}, time.Now())
			var invalid *InvalidError
			require.ErrorAs(t, err, &invalid)
			require.Len(t, invalid.Faults, 1)
			require.Equal(t, 1, invalid.Faults[0].Index)
			require.Equal(t, test.field, invalid.Faults[0].Field)
			require.ErrorContains(t, err, test.text)
			var fault *FieldError
			require.ErrorAs(t, err, &fault)
		})
	}
}

func TestWhatIsAtTheLimitIsValid(t *testing.T) {
	t.Parallel()

	survey, respondent, conversation, _ := parts()
	for name, event := range map[string]Event{
		"LongestType":          {Type: Type(strings.Repeat("z", 64)), Data: Raw(`{}`)},
		"LargestData":          {Type: "a.b_9", Data: Raw(`{"a":"` + strings.Repeat("x", MaxDataBytes-8) + `"}`)},
		"SpaceBeforeObject":    {Type: "a", Data: Raw(" \t\r\n{}")},
		"NestedReservedKey":    {Type: "a", Data: Raw(`{"a":{"metadata":1}}`)},
		"OtherCaseOfReserved":  {Type: "a", Data: Raw(`{"Metadata":1,"EVENT_TYPE":2}`)},
		"RepeatedKey":          {Type: "a", Data: Raw(`{"a":1,"a":2}`)},
		"LastMoment":           {Type: "a", Data: Raw(`{}`), CreatedAt: time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)},
		"TypeOfPayloadImplied": {Data: ConversationStarted{survey, respondent, conversation}},
		"PointerToPayload":     {Data: &ConversationStarted{survey, respondent, conversation}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			event.CompanyID = survey.CompanyID
			_, _, err := marshal([]Event{event}, time.Now())
			require.NoError(t, err)
		})
	}
}

func TestAllFaultsAreJoinedAndTheTextIsBounded(t *testing.T) {
	t.Parallel()

	events := make([]Event, 100)
	_, _, err := marshal(events, time.Now())
	var invalid *InvalidError
	require.ErrorAs(t, err, &invalid)
	require.Len(t, invalid.Faults, 300) // type, company and data of each
	require.Len(t, invalid.Unwrap(), 300)
	require.Equal(t, 99, invalid.Faults[299].Index)
	require.True(t, strings.HasSuffix(err.Error(), "; and 280 more"), err.Error())
}

func TestOneCallIsBounded(t *testing.T) {
	t.Parallel()

	require.NoError(t, checkCall(1024, maxCallBytes))
	require.ErrorContains(t, checkCall(1025, maxCallBytes+1), "want at most 268435456 a call; call several times in one transaction")
}

func TestTheFaultsOfOneEventAreBounded(t *testing.T) {
	t.Parallel()

	var invalid *InvalidError
	data := Raw(`{"responses":[` + strings.Repeat("1,", 1000) + `1]}`)
	require.ErrorAs(t, Check(Event{Type: ConversationCompletedType, CompanyID: fixed(2), Data: data}), &invalid)
	require.Len(t, invalid.Faults, maxFaultsTold)
}
