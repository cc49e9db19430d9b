package dashboard

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// advice is a reason as a person understands it: what happened, in a list's few words and in a sentence, and what to do
// about it.
type advice struct {
	Label string
	Title string
	Do    string
}

// adviseOn is the advice on one attempt: where one reason has several causes, its detail or status says which one it was.
func adviseOn(a *projections.Attempt) advice {
	advice := advise(fact.Reason(a.Reason))
	switch {
	case a.Reason == string(fact.StatusGone) && a.Trigger == string(fact.Test):
		advice.Do = "410 asks us to stop for good: to anything but a test it would disable the endpoint. If that is not meant, answer anything else."
	case a.Reason == string(fact.TLS) && strings.Contains(a.Detail, "does not speak TLS"):
		advice.Do = "Plain HTTP answers on this port. Give the port on which TLS is spoken, mostly 443, or put a proxy that ends TLS before your server."
	case a.Reason == string(fact.TLS) && strings.Contains(a.Detail, "no TLS version"):
		advice.Do = "Allow TLS 1.2 or 1.3 on your server or on the proxy before it; older versions are broken and never used."
	case a.Reason == string(fact.TLS) && !strings.Contains(a.Detail, "certificate"):
		advice.Do = "Your server, or a proxy before it, broke the handshake off: its log says why. It must not ask for a certificate of ours, and it has to know the URL’s host name, which we send (SNI)."
	case a.Reason == string(fact.Protocol) && a.Status != nil && *a.Status == http.StatusSwitchingProtocols:
		advice.Title, advice.Do = "Your server wanted to switch protocols", "A WebSocket or the like answers at this path. Check the path, and answer a webhook’s POST with 200."
	}
	return advice
}

// advise is the one table from reasons to words. A reason that it does not have is said as it is.
func advise(r fact.Reason) advice {
	switch r {
	case fact.OK:
		return advice{"Success", "Your server answered with success", "Nothing: the event has arrived."}
	case fact.StatusRedirect:
		return advice{
			"Redirect",
			"Your server answered with a redirect",
			"Redirects are never followed, because they could lead a signed event elsewhere. Edit the endpoint and enter the address it redirects to, often the one with https:// or with or without the final slash.",
		}
	case fact.StatusClient:
		return advice{
			"Refused",
			"Your server refused the request",
			"Look at the response body for its reason. 401 or 403: let requests pass without a login and verify the signature instead. 404 or 405: check the path, and that it takes POST. 413: allow bodies of 512 KiB.",
		}
	case fact.StatusGone:
		return advice{
			"Gone",
			"Your server answered 410 Gone",
			"410 asks us to stop for good, so the endpoint was disabled. If that was not meant, answer anything else and enable it again: what was held is then sent.",
		}
	case fact.StatusThrottled:
		return advice{
			"Slow down",
			"Your server asked us to slow down",
			"We wait at least as long as its Retry-After header says. Answer quickly and work later, so that bursts do not reach your limit.",
		}
	case fact.StatusServer:
		return advice{
			"Server error",
			"Your server failed while it handled the event",
			"Look into its log at the time of the attempt. 502, 503 or 504 usually come from a proxy before it: is the application running?",
		}
	default:
		return adviseUnanswered(r)
	}
}

// adviseUnanswered has the reasons without an answer that could be judged.
func adviseUnanswered(r fact.Reason) advice {
	switch r {
	case fact.Timeout:
		return advice{
			"No answer in 30 s",
			"Your server did not answer within 30 seconds",
			"Store the event, answer 200 at once, and do the work afterwards. It may have handled the event in spite of this: recognise the repeat by X-Webhook-ID.",
		}
	case fact.DNS:
		return advice{
			"Name not found",
			"The host name could not be resolved",
			"Check the URL for a typing error, and that the name has a public A or AAAA record.",
		}
	case fact.Connect:
		return advice{
			"Connection refused",
			"Nothing accepted the connection",
			"Check that the server runs, listens on this port, and that its firewall lets requests from the internet pass.",
		}
	case fact.ConnectTimeout:
		return advice{
			"No connection in time",
			"The connection could not be made in time",
			"A firewall that drops packets looks like this. Allow incoming connections on this port, and check the address of the name.",
		}
	case fact.TLS:
		return advice{
			"TLS failed",
			"The TLS handshake failed",
			"Check the certificate: not expired, made for this host name, sent with its whole chain, from a public authority. TLS 1.2 or later is needed.",
		}
	case fact.Reset:
		return advice{
			"Connection cut",
			"The connection was cut before an answer came",
			"The server or a proxy closed it. Look for a crash, a worker that was restarted, or an idle timeout shorter than the time your code needs.",
		}
	case fact.Protocol:
		return advice{
			"Not HTTP",
			"The answer was no valid HTTP",
			"Is something else listening on this port? Answer with a status line and headers, such as HTTP/1.1 200 OK.",
		}
	case fact.HeaderTooLarge:
		return advice{
			"Headers too large",
			"The headers of the answer were too large",
			"Answer with fewer or shorter headers, at most 64 KiB in all. Cookies are the usual cause; webhooks need none.",
		}
	case fact.BlockedDestination:
		return advice{
			"Destination not allowed",
			"The destination is not allowed",
			"The name leads to an address that is not public. Give it a public address; for a server on your own machine, use surveyhooks listen.",
		}
	default:
		return adviseOurs(r)
	}
}

// adviseOurs has the reasons that are no attempt's fault of the endpoint, and those of changes.
func adviseOurs(r fact.Reason) advice {
	switch r {
	case fact.Interrupted:
		return advice{
			"Interrupted by us",
			"Our process ended during the attempt",
			"Nothing: the outcome is unknown, so it is sent again, and no retry was used up. If it arrives twice, recognise the repeat by X-Webhook-ID.",
		}
	case fact.Stale:
		return advice{
			"Taken over",
			"Another of our processes had taken over",
			"Nothing: the attempt was recorded late by a process that had lost its lease, and the other one went on.",
		}
	case fact.Local:
		return advice{
			"Fault of ours",
			"It could not be sent for a fault of ours",
			"Nothing: it is sent again on its own, and no retry was used up.",
		}
	case fact.ByRequest:
		return advice{"By request", "Somebody asked for it", "The history of changes names who it was."}
	case fact.Gone:
		return advice{
			"410 Gone",
			"Your server answered 410 Gone",
			"410 asks us to stop for good. If that was not meant, enable the endpoint: what was held is then sent.",
		}
	case fact.FailingPersistently:
		return advice{
			"Failing for days",
			"Every attempt failed for days",
			"Mend the server, send a test, then enable the endpoint, and recover what failed meanwhile.",
		}
	case fact.EndpointGoneForGood:
		return advice{
			"Endpoint deleted",
			"The endpoint was deleted",
			"Its deliveries were cancelled, which is final. A new endpoint is told of events from then on.",
		}
	case fact.RetriesUsedUp:
		return advice{
			"Retries used up",
			"The first attempt and all retries failed",
			"Mend what the last attempt says, then retry the delivery, or recover all of them on the endpoint's page.",
		}
	default:
		return advice{Label: string(r), Title: string(r)}
	}
}

// outcomeWords is an attempt's end in one line, for lists.
func outcomeWords(status *int, reason *string) string {
	if reason == nil {
		return ""
	}
	label := advise(fact.Reason(*reason)).Label
	if status != nil {
		return strconv.Itoa(*status) + " " + label
	}
	return label
}

// mark is a state with the icon and the colour that it always has.
type mark struct {
	Kind  string // ok, fail, wait, hold, off: the class and the icon
	Words string
}

// deliveryMark says where a delivery stands.
func deliveryMark(state string) mark {
	switch fact.State(state) {
	case fact.Pending:
		return mark{"wait", "Pending"}
	case fact.Retrying:
		return mark{"retry", "Retry scheduled"}
	case fact.Delivered:
		return mark{"ok", "Delivered"}
	case fact.Exhausted:
		return mark{"fail", "Failed"}
	case fact.Held:
		return mark{"hold", "Held"}
	case fact.Cancelled:
		return mark{"off", "Cancelled"}
	default:
		return mark{"off", state}
	}
}

// attemptMark says how an attempt ended.
func attemptMark(outcome string) mark {
	switch outcome {
	case "succeeded":
		return mark{"ok", "Succeeded"}
	case "failed":
		return mark{"fail", "Failed"}
	case "interrupted":
		return mark{"hold", "Interrupted"}
	case "stale":
		return mark{"off", "Stale"}
	default:
		return mark{"off", outcome}
	}
}

// triggerWords says what asked for an attempt.
func triggerWords(trigger string) string {
	switch fact.Trigger(trigger) {
	case fact.Automatic:
		return "automatic"
	case fact.Manual:
		return "manual retry"
	case fact.Test:
		return "test"
	default:
		return trigger
	}
}
