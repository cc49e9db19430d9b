// Package header says which headers of their own customers may have sent with their webhooks.
//
// It owns the policy and the type of a header whose value does not print: as far as we know, every value is a
// credential. It promises that what [Check] accepts leaves the relay as it was given, as one header of an HTTP/1.1
// request, and collides with nothing that the relay or HTTP itself sets. It never stores or sends anything, and
// imports nothing of ours.
package header
