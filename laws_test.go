// Package surveyhooks_test holds the house rules as ordinary tests, each with its reason.
//
// It reads the tree as text and syntax, so that it never has to compile what it judges. Every law is a function from a tree to its faults, and TestLawsCatchOffenders proves that each one can fail.
package surveyhooks_test

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

const (
	module = "github.com/chattosurvey/surveyhooks"

	maxFileLines = 400
	maxFuncLines = 80
	maxParams    = 5
)

// law is one house rule: why it stands, and what breaks it.
type law struct {
	name string
	why  string
	find func(tree) []string
}

var laws = []law{
	{"PackagesAreDocumented", "a package doc says what the package owns, promises and never does; start with `Package name`", undocumentedPackages},
	{"ExportedNamesAreDocumented", "an exported name is a promise, and a promise needs words: units, errors, concurrency", undocumentedNames},
	{"ImportsRunDown", "schema ← outbox ← relay, projections ← cmd: relay and projections meet only in the journal, leaves stay liftable", upwardImports},
	{"SizesAreBounded", "what does not fit a screen is not read: split the file, name the step, or make the parameters a struct", oversized},
	{"SQLHasOneHome", "whoever changes a table must find every statement on it in sql.go and migrations", strayedSQL},
	{"NothingHappensOnImport", "an init or a mutable global couples tests and hides order; make it a field, a constant or a function", globalState},
	{"TestsNeitherSleepNorSkip", "a sleep is slow or flaky and a skip is a hole; wait on a channel, or sleep in a synctest bubble", sleepersAndSkippers},
	{"ArchitectureNamesEveryFolder", "a map that lies is worse than none: ARCHITECTURE.md's Folders table is the tree", mapFaults},
	{"RootIsTheSentence", "the root listing reads schema, outbox, relay, projections, cmd; all else has a home below", strangersAtRoot},
	{"SecurityClaimsAreTested", "a promise that nothing proves is an advertisement: each one in SECURITY.md names the tests that hold it", untestedClaims},
	{"EveryBadInputRowHasATest", "what nobody tries is what a stranger tries first: each row of badInput is in the name of a test", untriedInput},
	{"TestsLeaveNothingRunning", "a goroutine that outlives its test works on into the next one's: each package with tests ends with goleak.VerifyTestMain", leakyTests},
	{"FilesNameNoMachine", "a path of one machine breaks on every other one", machineNames},
}

// badInput is what must be expected of strangers, customers and their tools, by row. A test that proves a row has B, its
// number and _ in its own name or its subtest's, and there is one at each door that the row can come through: command
// line, SQL, Go, HTTP API, pages. A number that is not here was never given.
var badInput = map[int]string{
	1: "a URL with plain HTTP", 2: "a URL with another scheme, or without host", 3: "a user name in a URL", 4: "a fragment in a URL",
	5: "blanks, control characters, backslashes in a URL", 6: "a local name", 7: "a special IPv4 address", 8: "a special IPv6 address",
	10: "an address that is global unicast and special all the same", 11: "a host that is a number", 13: "an international or invisible host name",
	14: "an IPv6 zone", 15: "a port of another service", 17: "a name that leads inwards", 18: "a name that turns inwards later",
	19: "a redirect", 20: "a proxy in the environment", 22: "the same URL twice", 23: "a URL that leads back to us", 24: "a token in a URL",
	25: "a line break in a header's value", 26: "a header's name that is none", 27: "a header that is ours or HTTP's", 28: "too many or too large headers",
	29: "a credential as a header", 30: "a secret that is none", 32: "rotation while one is under way", 33: "reading a secret back, or without its key",
	34: "another key, or a secret moved to another row", 35: "a signature of which only a part is compared",
	36: "an event that is no JSON or no UTF-8", 38: "data that is empty or no object", 39: "metadata of an event that is not what it should be",
	40: "an event's id that is no UUID", 42: "an event type that is unknown or none", 43: "data of all sizes", 44: "a time of the event that is odd",
	46: "an event that nobody wants", 47: "personal data", 48: "a body with the time of its delivery",
	49: "a response that is a script", 50: "response headers that are large or look like more of them", 51: "a request from another site",
	52: "a change by GET", 53: "a session or link that is old, used or somebody else's", 54: "an id of another company", 55: "a company in a body or header",
	56: "tests without end", 57: "a replay of too much, of another's, of what is over for good", 58: "the same change twice",
	59: "nonsense in limits, cursors and filters", 60: "bodies that are large, deep, doubled or of another type", 61: "a script in a description",
	62: "guessing of tokens", 65: "a change that leaves no trace",
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLaws(t *testing.T) {
	t.Parallel()

	repository := loadTree(t)
	for _, law := range laws {
		t.Run(law.name, func(t *testing.T) {
			t.Parallel()
			faults := law.find(repository)
			require.Empty(t, faults, "%s\n\nwhy: %s", strings.Join(faults, "\n"), law.why)
		})
	}
}

// tree is the repository as text and as syntax, keyed by slash-separated path.
type tree struct {
	text map[string][]byte
	code []source
}

// source is one parsed Go file.
type source struct {
	path string
	fset *token.FileSet
	ast  *ast.File
}

func (s source) dir() string { return path.Dir(s.path) }

// isTest reports whether only tests can reach the file: a _test.go, or a file of a package named for testing.
func (s source) isTest() bool {
	return strings.HasSuffix(s.path, "_test.go") || isTestPackage(s.dir())
}

// at is a fault at a node, in the form that editors can jump to.
func (s source) at(n ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.path, s.fset.Position(n.Pos()).Line, fmt.Sprintf(format, args...))
}

func (s source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

func isTestPackage(dir string) bool {
	base := path.Base(dir)
	return len(base) > len("test") && strings.HasSuffix(base, "test")
}

func newTree(t *testing.T, text map[string][]byte) tree {
	t.Helper()

	tr := tree{text: text}
	for _, name := range sortedKeys(text) {
		if path.Ext(name) != ".go" || strings.Contains(name, "testdata/") {
			continue
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, text[name], parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		tr.code = append(tr.code, source{path: name, fset: fset, ast: file})
	}
	return tr
}

// loadTree reads what git tracks or would track, so that new code is judged before it is added and ignored
// files never are. Without git (a source archive) it is everything that stands there.
func loadTree(t *testing.T) tree {
	t.Helper()

	var names []string
	listing, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err == nil {
		names = strings.Split(strings.TrimRight(string(listing), "\x00"), "\x00")
	} else {
		names = walk(t)
	}

	text := make(map[string][]byte, len(names))
	for _, name := range names {
		content, err := os.ReadFile(filepath.FromSlash(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not yet staged
		}
		require.NoError(t, err)
		text[name] = content
	}
	require.Contains(t, text, "go.mod", "the laws must run at the root of the module")
	return newTree(t, text)
}

func walk(t *testing.T) []string {
	t.Helper()

	var names []string
	require.NoError(t, filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == ".git" || name == "bin"):
			return filepath.SkipDir
		case entry.Type().IsRegular():
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	}))
	return names
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func undocumentedPackages(tr tree) []string {
	docs := map[string]string{}
	for _, src := range tr.code {
		if strings.HasSuffix(src.path, "_test.go") {
			continue
		}
		doc := strings.TrimSpace(src.ast.Doc.Text())
		name := src.ast.Name.Name
		if name != "main" && doc != "" && !strings.HasPrefix(doc, "Package "+name+" ") {
			doc = ""
		}
		docs[src.dir()] += doc
	}

	var faults []string
	for _, dir := range sortedKeys(docs) {
		if docs[dir] == "" {
			faults = append(faults, dir+": the package has no doc comment")
		}
	}
	return faults
}

func undocumentedNames(tr tree) []string {
	var faults []string
	for _, src := range tr.code {
		if strings.HasSuffix(src.path, "_test.go") {
			continue
		}
		for _, decl := range src.ast.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Name.IsExported() && decl.Doc == nil && exportedReceiver(decl) {
					faults = append(faults, src.at(decl, "%s has no doc comment", decl.Name.Name))
				}
			case *ast.GenDecl:
				for _, name := range bareNames(decl) {
					faults = append(faults, src.at(name, "%s has no doc comment", name.Name))
				}
			}
		}
	}
	return faults
}

// exportedReceiver reports whether a caller outside the package can name what the method hangs on.
func exportedReceiver(decl *ast.FuncDecl) bool {
	if decl.Recv == nil {
		return true
	}
	receiver := decl.Recv.List[0].Type
	for {
		switch wrapped := receiver.(type) {
		case *ast.StarExpr:
			receiver = wrapped.X
		case *ast.ParenExpr:
			receiver = wrapped.X
		case *ast.IndexExpr:
			receiver = wrapped.X
		case *ast.IndexListExpr:
			receiver = wrapped.X
		case *ast.Ident:
			return wrapped.IsExported()
		default:
			return true
		}
	}
}

// bareNames are a declaration's exported names that neither the group, nor the line, nor a trailing comment explains.
func bareNames(decl *ast.GenDecl) []*ast.Ident {
	if decl.Doc != nil {
		return nil
	}
	var bare []*ast.Ident
	for _, spec := range decl.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && spec.Comment == nil {
				bare = append(bare, spec.Name)
			}
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() && spec.Doc == nil && spec.Comment == nil {
					bare = append(bare, name)
				}
			}
		}
	}
	return bare
}

// floor is how high a folder of the root stands. Two folders on one floor do not see each other.
func floor(dir string) (int, bool) {
	floors := map[string]int{"schema": 0, "outbox": 1, "relay": 2, "projections": 2, "cmd": 3}
	n, ok := floors[top(dir)]
	return n, ok
}

func top(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// leaf reports whether dir is one of the packages that must stay liftable out of this repository.
func leaf(dir string) bool {
	return slices.Contains([]string{"relay/sign", "relay/egress", "relay/retry", "relay/seal", "relay/header"}, dir)
}

func upwardImports(tr tree) []string {
	var faults []string
	for _, src := range tr.code {
		for _, spec := range src.ast.Imports {
			target, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module+"/")
			if !ours || target == src.dir() {
				continue
			}
			if reason := forbiddenImport(src, target); reason != "" {
				faults = append(faults, src.at(spec, "imports %s: %s", target, reason))
			}
		}
	}
	return faults
}

// forbiddenImport is why the file may not import target, or "" where it may.
func forbiddenImport(src source, target string) string {
	if isTestPackage(target) {
		if src.isTest() {
			return ""
		}
		return "only tests import a package for tests"
	}
	dir := src.dir()
	from, known := floor(dir)
	to, targetKnown := floor(target)
	switch {
	case leaf(dir):
		return "relay/{sign,egress,retry,seal,header} import nothing of ours"
	case !known && dir != "." || !targetKnown:
		return "one of the two stands on no floor of ours"
	case strings.Contains(dir+"/", "/dashboard/") && top(target) == "relay" && !leaf(target):
		return "the dashboard reads projections and acts through an interface of its own"
	case dir == "." || top(dir) == top(target) || from > to:
		return ""
	case from == to:
		return "relay and projections meet only in the journal"
	default:
		return "imports run down only"
	}
}

func oversized(tr tree) []string {
	var faults []string
	for _, src := range tr.code {
		if strings.HasSuffix(src.path, "_test.go") {
			continue
		}
		if n := bytes.Count(tr.text[src.path], []byte("\n")); n > maxFileLines {
			faults = append(faults, fmt.Sprintf("%s: %d lines, at most %d", src.path, n, maxFileLines))
		}
		for _, decl := range src.ast.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := src.lines(fn); n > maxFuncLines {
				faults = append(faults, src.at(fn, "%s has %d lines, at most %d", fn.Name.Name, n, maxFuncLines))
			}
			if n := fn.Type.Params.NumFields(); n > maxParams {
				faults = append(faults, src.at(fn, "%s takes %d parameters, at most %d", fn.Name.Name, n, maxParams))
			}
		}
	}
	return faults
}

func strayedSQL(tr tree) []string {
	// Upper case only: "select page: %w" is an error and "Select an event" is a label.
	statement := regexp.MustCompile(`(?s)^\s*(?:--[^\n]*\n\s*)*(?:SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)\s` +
		`|\bSELECT\s.*\sFROM\s|\bINSERT\s+INTO\s|\bDELETE\s+FROM\s|\bUPDATE\s+\S+\s+SET\s`)

	var faults []string
	for _, src := range tr.code {
		if src.isTest() || path.Base(src.path) == "sql.go" || path.Base(src.dir()) == "migrations" {
			continue
		}
		ast.Inspect(src.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if value, err := strconv.Unquote(lit.Value); err == nil && statement.MatchString(value) {
				faults = append(faults, src.at(lit, "a statement outside sql.go: %.40q", value))
			}
			return true
		})
	}
	return faults
}

func globalState(tr tree) []string {
	var faults []string
	for _, src := range tr.code {
		if strings.HasSuffix(src.path, "_test.go") {
			continue
		}
		for _, decl := range src.ast.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil && decl.Name.Name == "init" {
					faults = append(faults, src.at(decl, "an init function"))
				}
			case *ast.GenDecl:
				for _, name := range mutableNames(decl) {
					faults = append(faults, src.at(name, "%s is a mutable global", name.Name))
				}
			}
		}
	}
	return faults
}

// mutableNames are the package variables that are none of: an error, a pattern, an embedded file, a table of
// address prefixes, or a proof that a type has an interface.
func mutableNames(decl *ast.GenDecl) []*ast.Ident {
	if decl.Tok != token.VAR {
		return nil
	}
	var mutable []*ast.Ident
	for _, spec := range decl.Specs {
		value, ok := spec.(*ast.ValueSpec)
		if !ok || embeds(decl.Doc) || embeds(value.Doc) {
			continue
		}
		for i, name := range value.Names {
			if name.Name != "_" && (i >= len(value.Values) || !constantInSpirit(value.Values[i])) {
				mutable = append(mutable, name)
			}
		}
	}
	return mutable
}

func embeds(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// constantInSpirit reports whether the value is one that Go has no constant for and nobody changes.
func constantInSpirit(value ast.Expr) bool {
	switch value := value.(type) {
	case *ast.CallExpr:
		switch selector(value.Fun) {
		case "errors.New", "fmt.Errorf", "regexp.MustCompile", "netip.MustParsePrefix":
			return true
		}
	case *ast.CompositeLit:
		prefixes := false
		ast.Inspect(value, func(n ast.Node) bool {
			name := selector(n)
			prefixes = prefixes || name == "netip.Prefix" || name == "netip.MustParsePrefix"
			return !prefixes
		})
		return prefixes
	}
	return false
}

// selector is "pkg.Name" for a node that is one, else "".
func selector(n ast.Node) string {
	sel, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	ident, ok := sel.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return ident.Name + "." + sel.Sel.Name
}

func sleepersAndSkippers(tr tree) []string {
	skip := regexp.MustCompile(`^(?:t|b|f|tb)\.Skip(?:f|Now)?$`)

	var faults []string
	for _, src := range tr.code {
		if !src.isTest() {
			continue
		}
		ast.Inspect(src.ast, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				switch name := selector(call.Fun); {
				case name == "synctest.Test":
					return false // the bubble's clock is fake: a sleep in it takes no time and cannot flake
				case name == "time.Sleep" || skip.MatchString(name):
					faults = append(faults, src.at(call, "calls %s", name))
				}
			}
			return true
		})
	}
	return faults
}

func mapFaults(tr tree) []string {
	page, ok := tr.text["ARCHITECTURE.md"]
	if !ok {
		return []string{"ARCHITECTURE.md: missing"}
	}
	drawn := map[string]bool{}
	row := regexp.MustCompile("^\\|\\s*`([^`]+)/`\\s*\\|")
	inFolders := false
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "#") {
			inFolders = strings.Contains(line, "Folders")
		}
		if match := row.FindStringSubmatch(line); inFolders && match != nil {
			drawn[match[1]] = true
		}
	}

	standing := map[string]bool{}
	for _, src := range tr.code {
		if src.dir() != "." {
			standing[src.dir()] = true
		}
	}

	var faults []string
	for _, dir := range sortedKeys(standing) {
		if !drawn[dir] {
			faults = append(faults, fmt.Sprintf("ARCHITECTURE.md: the Folders table has no row for `%s/`", dir))
		}
	}
	for _, dir := range sortedKeys(drawn) {
		if !standing[dir] {
			faults = append(faults, fmt.Sprintf("ARCHITECTURE.md: the Folders table names `%s/`, which holds no Go package", dir))
		}
	}
	return faults
}

func strangersAtRoot(tr tree) []string {
	allowed := []string{
		"schema", "outbox", "relay", "projections", "cmd",
		"README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "LICENSE",
		"go.mod", "go.sum", "Makefile", "laws_test.go",
		".ci", ".editorconfig", ".gitattributes", ".gitignore", ".golangci.yaml",
	}
	strangers := map[string]bool{}
	for name := range tr.text {
		if !slices.Contains(allowed, top(name)) {
			strangers[top(name)+": does not belong at the root"] = true
		}
	}
	return sortedKeys(strangers)
}

func machineNames(tr tree) []string {
	// Written so that the patterns do not match their own text.
	machine := regexp.MustCompile(`(?m)(?:^|[^\w./-])/(?:root|home|Users)/[\w.-]`)

	var faults []string
	for _, name := range sortedKeys(tr.text) {
		text := tr.text[name]
		if bytes.IndexByte(text, 0) >= 0 {
			continue // an image or a font
		}
		for _, at := range machine.FindAllIndex(text, -1) {
			line := 1 + bytes.Count(text[:at[0]+1], []byte("\n"))
			faults = append(faults, fmt.Sprintf("%s:%d: names %q", name, line, bytes.TrimSpace(text[at[0]:at[1]])))
		}
	}
	return faults
}

// untestedClaims are promises of SECURITY.md that name no test, or one that is not there.
func untestedClaims(tr tree) []string {
	functions := map[string]bool{}
	for _, src := range tr.code {
		for _, decl := range src.ast.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && strings.HasSuffix(src.path, "_test.go") {
				functions[fn.Name.Name] = true
			}
		}
	}
	_, promises, _ := strings.Cut("\n"+string(tr.text["SECURITY.md"]), "\n## What is promised\n")
	promises, _, _ = strings.Cut(promises, "\n## ")
	claims := strings.Split(promises, "\n- ")[1:]
	var faults []string
	for _, claim := range claims {
		names := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(claim, -1)
		if len(names) == 0 {
			faults = append(faults, fmt.Sprintf("SECURITY.md: %.60q names no test", claim))
		}
		for _, name := range names {
			if !functions[name[1]] {
				faults = append(faults, fmt.Sprintf("SECURITY.md: there is no %s", name[1]))
			}
		}
	}
	return faults
}

// untriedInput are rows of badInput that no test is named after, and tests of rows that there are not.
func untriedInput(tr tree) []string {
	row := regexp.MustCompile(`B(\d+)_`)
	tried := map[int]bool{}
	var faults []string
	try := func(src source, at ast.Node, name string) {
		for _, match := range row.FindAllStringSubmatch(name, -1) {
			n, err := strconv.Atoi(match[1])
			if _, ok := badInput[n]; err != nil || !ok {
				faults = append(faults, src.at(at, "there is no row %s of bad input", match[1]))
			}
			tried[n] = true
		}
	}
	subtest := regexp.MustCompile(`^"B\d+_\w+"$`)
	for _, src := range tr.code {
		if !src.isTest() {
			continue
		}
		ast.Inspect(src.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if strings.HasPrefix(n.Name.Name, "Test") {
					try(src, n, n.Name.Name)
				}
			case *ast.BasicLit:
				if subtest.MatchString(n.Value) {
					try(src, n, n.Value)
				}
			}
			return true
		})
	}
	for _, n := range slices.Sorted(maps.Keys(badInput)) {
		if !tried[n] {
			faults = append(faults, fmt.Sprintf("B%d: no test tries %s", n, badInput[n]))
		}
	}
	return faults
}

// leakyTests are packages whose tests may leave something behind that nobody looks for.
func leakyTests(tr tree) []string {
	verified := map[string]bool{}
	for _, src := range tr.code {
		if !strings.HasSuffix(src.path, "_test.go") {
			continue
		}
		verified[src.dir()] = verified[src.dir()] || verifiesLeaks(src)
	}
	var faults []string
	for _, dir := range sortedKeys(verified) {
		if !verified[dir] {
			faults = append(faults, dir+": no TestMain calls goleak.VerifyTestMain")
		}
	}
	return faults
}

func verifiesLeaks(src source) (verifies bool) {
	for _, decl := range src.ast.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Name.Name == "TestMain" {
			ast.Inspect(fn, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				verifies = verifies || ok && selector(call.Fun) == "goleak.VerifyTestMain"
				return true
			})
		}
	}
	return verifies
}

// TestLawsCatchOffenders shows each law an offender and its well-behaved twin: a law that cannot fail is no law.
func TestLawsCatchOffenders(t *testing.T) {
	t.Parallel()

	const slash = "/" // keeps the offenders below from offending in this very file
	tests := []struct {
		law, path, bad, good string
	}{
		{"PackagesAreDocumented", "relay/lane/lane.go", "package lane", "// Package lane leases.\npackage lane"},
		{"PackagesAreDocumented", "relay/lane/lane.go", "// Lanes.\npackage lane", "// Package lane leases.\npackage lane"},
		{"ExportedNamesAreDocumented", "relay/a.go", "package relay\nfunc Run() {}", "package relay\n// Run runs.\nfunc Run() {}\nfunc (t *hidden[T]) Close() {}"},
		{"ExportedNamesAreDocumented", "relay/a.go", "package relay\nfunc (t *Lane[T]) Close() {}", "package relay\nfunc (t lane) Close() {}"},
		{"ExportedNamesAreDocumented", "relay/a.go", "package relay\nconst (\nA = 1\n)", "package relay\n// Steps.\nconst (\nA = 1\n)"},
		{"ImportsRunDown", "schema/a.go", importing("schema", "outbox"), importing("schema", "schema/fact")},
		{"ImportsRunDown", "relay/a.go", importing("relay", "projections"), importing("relay", "outbox")},
		{"ImportsRunDown", "projections/a_test.go", importing("projections", "relay/lane"), importing("projections", "schema/schematest")},
		{"ImportsRunDown", "relay/a.go", importing("relay", "schema/schematest"), importing("relay", "schema")},
		{"ImportsRunDown", "relay/sign/a.go", importing("sign", "schema"), "package sign\nimport \"time\""},
		{"ImportsRunDown", "relay/seal/a.go", importing("seal", "relay/sign"), "package seal\nimport \"time\""},
		{"ImportsRunDown", "relay/header/a.go", importing("header", "schema/fact"), "package header\nimport \"time\""},
		{"ImportsRunDown", "cmd/surveyhooks/dashboard/a.go", importing("dashboard", "relay"), importing("dashboard", "relay/retry")},
		{"SizesAreBounded", "relay/a.go", "package relay\n" + strings.Repeat("\n", maxFileLines), "package relay\n" + strings.Repeat("\n", maxFileLines-1)},
		{"SizesAreBounded", "relay/a.go", "package relay\nfunc f() {" + strings.Repeat("\n", maxFuncLines) + "}", "package relay\nfunc f() {" + strings.Repeat("\n", maxFuncLines-1) + "}"},
		{"SizesAreBounded", "relay/a.go", "package relay\nfunc f(a, b, c, d, e, f int) {}", "package relay\nfunc f(a, b, c, d, e int) {}"},
		{"SQLHasOneHome", "relay/a.go", "package relay\nconst q = `\n  SELECT 1`", "package relay\nconst q = `select page: no rows`"},
		{"SQLHasOneHome", "relay/a.go", "package relay\nconst q = `/* x */ DELETE FROM lane`", "package relay\nconst q = `Example: SELECT webhooks.publish()`"},
		{"NothingHappensOnImport", "relay/a.go", "package relay\nfunc init() {}", "package relay\nfunc (a a) init() {}"},
		{"NothingHappensOnImport", "relay/a.go", "package relay\nvar cache = map[string]int{}", "package relay\nvar errGone = errors.New(`gone`)\nvar _ = I(nil)"},
		{"NothingHappensOnImport", "relay/a.go", "package relay\nvar n int", "package relay\nvar private = []netip.Prefix{}\n//go:embed a.sql\nvar files embed.FS"},
		{"TestsNeitherSleepNorSkip", "relay/a_test.go", "package relay\nfunc f() { time.Sleep(1) }", "package relay\nfunc f() { synctest.Test(t, func() { time.Sleep(1) }) }"},
		{"TestsNeitherSleepNorSkip", "relay/relaytest/a.go", "package relaytest\nfunc f() { t.Skipf(`no`) }", "package relaytest\nfunc f() { rows.Skip(1) }"},
		{"ArchitectureNamesEveryFolder", "ARCHITECTURE.md", "## Folders\n| `relay/` | x |\n", "## Folders\n"},
		{"ArchitectureNamesEveryFolder", "relay/a.go", "package relay", "package relay // on the map"},
		{"RootIsTheSentence", "util/a.go", "package util", ""},
		{"SecurityClaimsAreTested", "SECURITY.md", "## What is promised\n\n- Safe.\n  Very.\n", "## What is not\n\n- Safe.\n"},
		{"SecurityClaimsAreTested", "SECURITY.md", "## What is promised\n\n- Safe. `TestGone`\n", ""},
		{"EveryBadInputRowHasATest", "relay/a_test.go", rowsTried(1), rowsTried()},
		{"EveryBadInputRowHasATest", "relay/a_test.go", rowsTried() + "func TestB999_NoSuchRow() {}\n", rowsTried() + "// B999_ is a comment\n"},
		{"TestsLeaveNothingRunning", "relay/a_test.go", "package relay\nfunc TestA(t *testing.T) {}", "package relay\nfunc TestMain(m *testing.M) { goleak.VerifyTestMain(m) }"},
		{"TestsLeaveNothingRunning", "relay/a_test.go", "package relay\nfunc TestMain(m *testing.M) { os.Exit(m.Run()) }", "package relay\nfunc TestMain(m *testing.M) { if child() { return }; goleak.VerifyTestMain(m) }"},
		{"FilesNameNoMachine", "README.md", "see " + slash + "home/me/src\n", "net/home/me/src\n"},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprintf("%s%02d", tt.law, i), func(t *testing.T) {
			t.Parallel()

			find := laws[slices.IndexFunc(laws, func(l law) bool { return l.name == tt.law })].find
			text := func(content string) map[string][]byte {
				text := map[string][]byte{"ARCHITECTURE.md": []byte("## Folders\n")}
				if strings.HasSuffix(content, "// on the map") {
					text["ARCHITECTURE.md"] = []byte("## Folders\n| `relay/` | x |\n")
				}
				if content != "" {
					text[tt.path] = []byte(content)
				}
				return text
			}
			require.NotEmpty(t, find(newTree(t, text(tt.bad))), "the offender must be caught")
			require.Empty(t, find(newTree(t, text(tt.good))), "its twin must pass")
		})
	}
}

// rowsTried is a file with a test of every row of badInput but these: of one as a subtest, of the others as functions.
func rowsTried(but ...int) string {
	text := "package relay\nvar name = \"B2_Subtest\"\n"
	for _, n := range slices.Sorted(maps.Keys(badInput)) {
		if n != 2 && !slices.Contains(but, n) {
			text += fmt.Sprintf("func TestB%d_Refused() {}\n", n)
		}
	}
	return text
}

func importing(name, target string) string {
	return fmt.Sprintf("package %s\nimport _ %q", name, module+"/"+target)
}
