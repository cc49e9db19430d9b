package seal

import (
	"errors"
	"fmt"
	"strings"
)

// MissingKeyError says that the keyring lacks the key of a value. Add the key, and the value opens.
type MissingKeyError struct {
	KeyID string
	Have  []string // the ids that the keyring has
}

// Error names the keys by their ids.
func (e *MissingKeyError) Error() string {
	have := "it is empty"
	if len(e.Have) > 0 {
		have = "it has " + strings.Join(e.Have, ", ")
	}
	return fmt.Sprintf("key %q is not in the keyring (%s): add it", e.KeyID, have)
}

// WrongKeyError says that the keyring has another key under the id than the one that sealed the value.
type WrongKeyError struct{ KeyID string }

// Error names the key by its id.
func (e *WrongKeyError) Error() string {
	return fmt.Sprintf("key %q is another key than the one with this id that sealed the value: put the right one back, and give the other an id of its own", e.KeyID)
}

// AlteredError says that a value does not belong where it is: it was changed, or copied there from another row. It has
// to be set anew, and somebody should ask who wrote it.
type AlteredError struct {
	KeyID string
	Place Binding
}

// Error names the place.
func (e *AlteredError) Error() string {
	return fmt.Sprintf("the sealed %s of endpoint %s, version %d, was altered or moved there from another row: set it anew, and look for who wrote it",
		e.Place.Purpose, e.Place.Endpoint, e.Place.Version)
}

// IsFault tells whether an error is one of the three by which a value cannot be opened.
func IsFault(err error) bool {
	if _, ok := errors.AsType[*MissingKeyError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*WrongKeyError](err); ok {
		return true
	}
	_, ok := errors.AsType[*AlteredError](err)
	return ok
}
