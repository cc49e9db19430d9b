package api

import (
	"bytes"
	_ "embed" // the document
	"encoding/json"
)

// document is written by hand; the tests hold it to the route table and to every answer that they see.
//
//go:embed openapi.json
var document []byte

// Document is the OpenAPI document, as /v1/openapi.json serves it.
func Document() []byte { return bytes.Clone(document) }

func (s *server) openapi(*request) (answer, error) { return ok(json.RawMessage(document)) }
