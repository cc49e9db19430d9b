// Package egress owns every socket that is opened towards a customer.
//
// It holds three things, one on top of the other:
//
//	Policy   what a customer may write down as an endpoint's URL
//	guard    which resolved address may be dialled, checked on the socket itself
//	Client   one POST: bounded in time, in bytes and in what it may reach; or a look at where it would go
//
// It promises that one call of Client.Do puts at most one request before the
// endpoint (it is sent on another connection only when the first was closed
// before a byte of it left), that the
// call ends within Config.Timeout whatever the receiver does, that memory per
// call is bounded whatever is answered, and that no address outside the global
// unicast space is ever connected to, however the name resolves: the check
// sits between resolving and connecting, so a name that changes its mind
// after it was saved gains nothing. Nor is this host itself connected to: its
// interfaces' addresses, read again every few seconds, and the listeners that the
// policy names are refused like private ones.
//
// It speaks HTTP/1.1 alone, one request at a time on a connection, over which it
// has the only say: its own pool and writing of a request, net/http's reading of
// the answer. Why not http.Transport stands in ARCHITECTURE.md.
//
// It never follows a redirect, keeps a cookie, uses a proxy from the
// environment, decompresses an answer, or decides whether a status is a
// success: verdicts, retries and signatures belong to its callers.
//
// # Failure handling
//
// Do returns no error. What went wrong is one Fault of a closed set, words in
// Response.Detail that hold no address of ours, and Response.Err for the
// operator's log. Either the endpoint answered (Status is 200 to 599 and Fault is
// FaultNone) or it did not (Status is 0). An answer that breaks off after its
// head is an answer: Truncated is set.
package egress
