//go:build browser

package main

import (
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

// refusedWith holds that the browser complained of nothing but answers of that status, which it tells of each.
func (j *journey) refusedWith(status string) {
	j.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	require.NotEmpty(j, j.troubles)
	for _, trouble := range j.troubles {
		require.Contains(j, trouble, "status of "+status)
	}
}

// Where a name leads is told while it is typed: the verdict about what stands there last, without waiting for those about
// what stood there before. It keeps nobody from saving.
func TestJourneyTypesAURLAndIsToldWhereItLeads(t *testing.T) {
	t.Parallel()
	j := newJourney(t)
	j.open("/endpoints/new")
	j.types("#url", j.receiver.URL)
	j.sees("#url-check", "Its name leads to an address that may be called here.")
	j.empties("#url")
	j.types("#url", "https://missing.example.com/hook")
	j.sees("#url-check", "Its name does not lead to a public address now")
	j.sees("#url-check", "https://missing.example.com/hook")
	j.types("#url", "/2") // its bad news takes 2 s
	j.until(`document.querySelector("#url").closest(".htmx-request") !== null`)
	j.empties("#url")
	j.types("#url", "https://hooks.example.com/")
	j.sees("#url-check", "Sent to https://hooks.example.com/. Its name leads to")
	j.empties("#url")
	j.types("#url", "https://missing.example.com/hook")
	j.clicks(`.form-acts button[value=""]`)
	j.sees("h1", "Endpoint created")
	j.sees("#secret", "whsec_")
	j.sees(".notice-hold", "Its name does not lead to a public address now")
	j.untroubled()
}

// A search for what is no id is told beside its field, which keeps the focus and what was typed, and is forgotten with the
// next one.
func TestJourneySearchesForWhatIsNoID(t *testing.T) {
	t.Parallel()
	j := newJourney(t)
	e := j.endpoint(j.receiver.URL+"/orders", "")
	j.open("/endpoints/" + e.ID.String())
	j.clicks(`.page-head form[action$="/test"] button`)
	j.sees("#test-panel", "Succeeded") // the history has it, which comes after the arrival
	j.open("/deliveries")
	j.sees("tr.row .col-endpoint", "/orders")
	j.types("#search", "nonsense"+kb.Enter)
	j.sees("#search-fault", "That is no id.")
	j.sees("#list", "Nothing was looked for.")
	j.until(`document.activeElement.id === "search" && document.activeElement.value === "nonsense" && document.activeElement.getAttribute("aria-invalid") === "true"`)
	j.empties("#search")
	j.types("#search", kb.Enter)
	j.sees("tr.row .col-endpoint", "/orders")
	j.until(`document.querySelector("#search-fault").innerText === "" && document.querySelector("#search").getAttribute("aria-invalid") === "false"`)
	j.refusedWith("400")
}

// The button opens a form for a note, which is shown wherever the endpoint is; the list's button asks nothing.
func TestJourneyDisablesAnEndpointWithANote(t *testing.T) {
	t.Parallel()
	j := newJourney(t)
	e := j.endpoint(j.receiver.URL+"/orders", "")
	path := "/endpoints/" + e.ID.String()
	j.open(path)
	j.clicks(".drop > summary")
	j.until(`(() => { const form = document.querySelector(".drop > form").getBoundingClientRect(); return form.left >= 0 && form.right <= innerWidth; })()`)
	j.types("#note", "Moving to the new CRM.")
	j.clicks(".drop form button")
	j.sees("#message", "Disabled.")
	j.sees(".page-title .badge", "Disabled by you")
	j.sees(".page-title .note", "Moving to the new CRM.")
	j.until(`(() => { // the history comes after the change, and the page does not load itself again
		const told = [...document.querySelectorAll(".timeline .note")].some(e => e.innerText.includes("Moving to the new CRM."));
		if (!told) location.reload();
		return told;
	})()`)
	j.open("/endpoints")
	j.sees("tr.row .note", "Moving to the new CRM.")
	j.clicks(`form[action$="/enable"] button`)
	j.sees("tr.row .badge", "Enabled")
	j.clicks(`form[action$="/disable"] button`)
	// The row that came in place may not be htmx's yet: then the form is sent as it is, which leads to the endpoint's page.
	j.sees("tr.row .badge, .page-title .badge", "Disabled by you")
	stored, err := j.store.Get(t.Context(), endpoint.AnyCompany(), e.ID)
	require.NoError(t, err)
	require.Empty(t, stored.StateNote)
	j.untroubled()
}
