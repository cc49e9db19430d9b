// Package sign makes and checks Standard Webhooks 1.0.0 symmetric signatures:
// "v1," + base64(HMAC-SHA256(key, id + "." + timestamp + "." + body)).
//
// It owns the shape of a signing secret (whsec_ and base64 of 24 to 64 bytes),
// the signature header's value and its verification.
//
// It promises that the official Standard Webhooks libraries verify what it
// signs, that a [Secret] shows itself only when [Secret.Reveal] is called, and
// that no error of this package holds a secret, a signature or a body.
//
// It never stores or encrypts secrets, decides how long two of them overlap,
// or sets headers: callers do.
package sign
