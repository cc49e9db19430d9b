package api

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

// contract is openapi.json as a judge of what the tests see.
type contract struct {
	doc   map[string]any
	paths []string

	mu       sync.Mutex // a compiler is for one goroutine
	compiler *jsonschema.Compiler
}

const contractURL = "https://surveyhooks.test/openapi.json"

func newContract(t testing.TB) *contract {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	require.NoError(t, err)
	doc, isObject := value.(map[string]any)
	require.True(t, isObject)
	shut(at(t, doc, "components", "schemas"))
	c := &contract{doc: doc, compiler: jsonschema.NewCompiler()}
	shut(at(t, doc, "paths"))
	c.compiler.AssertFormat()
	require.NoError(t, c.compiler.AddResource(contractURL, doc))
	for path := range at(t, doc, "paths") {
		c.paths = append(c.paths, path)
	}
	// A literal path goes before one with a parameter in the same place.
	slices.SortFunc(c.paths, func(a, b string) int { return strings.Count(a, "{") - strings.Count(b, "{") })
	return c
}

// shut lets no answer have a member that the document does not name. Clients must not be so strict.
func shut(node any) {
	switch node := node.(type) {
	case map[string]any:
		for _, child := range node {
			shut(child)
		}
		if _, named := node["properties"].(map[string]any); named && node["type"] == "object" {
			node["additionalProperties"] = false
		}
	case []any:
		for _, child := range node {
			shut(child)
		}
	}
}

func at(t testing.TB, node map[string]any, keys ...string) map[string]any {
	t.Helper()
	for _, key := range keys {
		child, isObject := node[key].(map[string]any)
		require.True(t, isObject, "openapi.json: no object %q in %v", key, keys)
		node = child
	}
	return node
}

// operation finds the document's own path for a request's.
func (c *contract) operation(path string) string {
	parameter := regexp.MustCompile(`\\\{\w+\\\}`)
	for _, candidate := range c.paths {
		pattern := "^" + parameter.ReplaceAllString(regexp.QuoteMeta(candidate), `[^/]+`) + "$"
		if regexp.MustCompile(pattern).MatchString(path) {
			return candidate
		}
	}
	return ""
}

func (c *contract) validate(t testing.TB, body []byte, pointer ...string) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	require.NoError(t, err, "%s", body)
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	fragment := ""
	for _, key := range pointer {
		fragment += "/" + escape.Replace(key)
	}
	where := url.URL{Fragment: fragment}
	c.mu.Lock()
	defer c.mu.Unlock()
	schema, err := c.compiler.Compile(contractURL + "#" + where.EscapedFragment())
	require.NoError(t, err)
	return schema.Validate(value)
}

// judge holds one exchange to the document. An answer on a path or with a method that it does not have is a problem.
func (c *contract) judge(t testing.TB, request *http.Request, sent []byte, response *http.Response, body []byte) {
	t.Helper()
	path, method := c.operation(request.URL.Path), strings.ToLower(request.Method)
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	status := strconv.Itoa(response.StatusCode)
	require.NotEmpty(t, response.Header.Get("X-Request-ID"))
	require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-store", response.Header.Get("Cache-Control"))
	if response.StatusCode >= 400 && method != "head" {
		require.Equal(t, "application/problem+json", kind)
		require.NoError(t, c.validate(t, body, "components", "schemas", "Problem"), "%s", body)
		var p problem
		require.NoError(t, json.Unmarshal(body, &p))
		require.Equal(t, response.StatusCode, p.Status)
		require.Equal(t, response.Header.Get("X-Request-ID"), p.RequestID)
		require.NotEmpty(t, p.Detail)
	}
	if path == "" || response.StatusCode == http.StatusMethodNotAllowed || method == "head" {
		return
	}
	responses := at(t, c.doc, "paths", path, method, "responses")
	require.Contains(t, responses, status, "%s %s", method, path)
	c.judgeHeaders(t, at(t, responses, status), response)
	if response.StatusCode >= 400 {
		return
	}
	if len(sent) > 0 {
		require.NoError(t, c.validate(t, sent, "paths", path, method, "requestBody", "content", "application/json", "schema"), "%s", sent)
	}
	if response.StatusCode == http.StatusNoContent {
		require.Empty(t, body)
		return
	}
	require.Contains(t, at(t, responses, status, "content"), kind)
	if kind == "application/json" {
		require.NoError(t, c.validate(t, body, "paths", path, method, "responses", status, "content", kind, "schema"),
			"%s %s: %s", method, path, body)
	}
}

// judgeHeaders holds the headers that say something of ours to the document, both ways. What is kept of an answer for a
// replay has no ETag.
func (c *contract) judgeHeaders(t testing.TB, answer map[string]any, response *http.Response) {
	t.Helper()
	if ref, shared := answer["$ref"].(string); shared {
		answer = at(t, c.doc, "components", "responses", strings.TrimPrefix(ref, "#/components/responses/"))
	}
	documented, _ := answer["headers"].(map[string]any)
	for _, name := range []string{"ETag", "Location", "Idempotency-Replayed", "Retry-After", "WWW-Authenticate"} {
		given, said := response.Header.Get(name) != "", documented[name] != nil
		replayed := response.Header.Get("Idempotency-Replayed") != ""
		switch {
		case given:
			require.True(t, said, "%s of %s is not documented", name, response.Request.URL)
		case name == "Location" || name == "ETag" && !replayed || name == "WWW-Authenticate":
			require.False(t, said, "%s of %s is documented, and missing", name, response.Request.URL)
		}
	}
}

// TestTheDocumentHasTheLimitThatIsKept: JSON cannot name a constant.
func TestTheDocumentHasTheLimitThatIsKept(t *testing.T) {
	t.Parallel()

	found := 0
	var walk func(node any)
	walk = func(node any) {
		switch node := node.(type) {
		case []any:
			for _, child := range node {
				walk(child)
			}
		case map[string]any:
			if limit, ok := node["rate_limit"].(map[string]any); ok && limit["maximum"] != nil {
				found++
				require.Equal(t, json.Number("1"), limit["minimum"])
				require.Equal(t, json.Number(strconv.Itoa(endpoint.MaxRateLimit)), limit["maximum"])
			}
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(newContract(t).doc)
	require.Equal(t, 4, found, "of an endpoint, with its secret, made and changed")
}

// TestTheDocumentIsTheRouteTable walks both ways: no route is undocumented, nothing is documented that is not served.
func TestTheDocumentIsTheRouteTable(t *testing.T) {
	t.Parallel()

	c := newContract(t)
	require.Equal(t, "3.1.0", c.doc["openapi"])
	documented := map[string]map[string]any{}
	ids := map[string]string{}
	for path, item := range at(t, c.doc, "paths") {
		for method, operation := range item.(map[string]any) {
			name := strings.ToUpper(method) + " " + path
			documented[name] = operation.(map[string]any)
			id, _ := operation.(map[string]any)["operationId"].(string)
			require.NotEmpty(t, id, name)
			require.NotContains(t, ids, id, "two operations have one id")
			ids[id] = name
		}
	}
	for _, rt := range routes() {
		name := rt.method + " " + rt.pattern
		operation, there := documented[name]
		require.True(t, there, "%s is served and not documented", name)
		delete(documented, name)
		requireParameters(t, rt, operation)
		responses := at(t, operation, "responses")
		require.Equal(t, rt.may != anybody, responses["401"] != nil, name)
		require.Equal(t, rt.may != anybody, responses["429"] != nil, "%s: keys that are refused are counted", name)
		require.Equal(t, rt.may == reads || rt.may == changes, responses["404"] != nil && strings.Contains(rt.pattern, "{company_id}"), name)
		require.Equal(t, rt.may == changes || rt.may == operates, responses["403"] != nil, name)
		takesBody := rt.method == http.MethodPost || rt.method == http.MethodPatch
		require.Equal(t, takesBody, operation["requestBody"] != nil, name)
	}
	require.Empty(t, documented, "documented and not served")
}

// TestEveryBodyHasAnExampleThatIsRight: who writes a client begins with one.
func TestEveryBodyHasAnExampleThatIsRight(t *testing.T) {
	t.Parallel()

	c := newContract(t)
	for path, item := range at(t, c.doc, "paths") {
		for method, operation := range item.(map[string]any) {
			if operation.(map[string]any)["requestBody"] == nil {
				continue
			}
			schema := at(t, operation.(map[string]any), "requestBody", "content", "application/json", "schema")
			name := strings.TrimPrefix(schema["$ref"].(string), "#/components/schemas/")
			examples, _ := at(t, c.doc, "components", "schemas", name)["examples"].([]any)
			require.Equal(t, name == "Nothing", len(examples) == 0, "%s %s: %s", method, path, name)
			for _, example := range examples {
				text, err := json.Marshal(example)
				require.NoError(t, err)
				require.NoError(t, c.validate(t, text, "components", "schemas", name), "%s", text)
			}
		}
	}
}

func requireParameters(t *testing.T, rt route, operation map[string]any) {
	t.Helper()
	var path, query, header []string
	list, _ := operation["parameters"].([]any)
	for _, entry := range list {
		parameter := entry.(map[string]any)
		switch {
		case parameter["$ref"] == "#/components/parameters/IdempotencyKey":
			header = append(header, "Idempotency-Key")
		case parameter["in"] == "path":
			path = append(path, parameter["name"].(string))
		case parameter["in"] == "query":
			query = append(query, parameter["name"].(string))
		}
	}
	var placeholders []string
	for _, match := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(rt.pattern, -1) {
		placeholders = append(placeholders, match[1])
	}
	require.ElementsMatch(t, placeholders, path, rt.pattern)
	require.ElementsMatch(t, rt.query, query, rt.pattern)
	require.Equal(t, rt.method == http.MethodPost, len(header) == 1, "%s: every POST takes an Idempotency-Key", rt.pattern)
}
