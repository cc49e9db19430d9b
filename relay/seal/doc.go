// Package seal encrypts small values at rest (signing secrets, header values) so that a copy of the database is of no
// use without the keys, which are never in it.
//
// It owns the keyring and the form of a sealed value. It promises AES-256-GCM with a random nonce, that a value opens
// only where it was sealed (its [Binding] is authenticated with it), and that neither a key nor a value is ever in an
// error or in anything that prints. It never stores, logs or fetches anything, and imports nothing of ours.
//
// # Keyring
//
// A [Ring] holds key-encryption keys with ids. The first one seals; every one opens what it has sealed. So a key is
// replaced by putting a new one before it, sealing everything again, and taking the old one away. In text a ring is
//
//	id:base64,id:base64
//
// with a comma or a line's end between two keys, the base64 of 32 random bytes after each id, and ids of 1 to 32 of
// a-z 0-9 . _ - that begin with a letter or digit. Blank lines, and lines that begin with #, do not count.
//
// # A sealed value
//
//	1 byte  form, 1
//	8 bytes check value of the key: tells a wrong key from an altered value
//	12 bytes nonce, then the ciphertext, then 16 bytes tag
//
// # Failure handling
//
// What cannot be opened is one of three, each with its own remedy: a *MissingKeyError (add the key), a *WrongKeyError
// (the id has other bytes than when the value was sealed: restore them) and an *AlteredError (the value was changed, or
// copied from another row: set it anew).
package seal
