# What can be done here. `make` lists it.

GO       ?= go
GOFLAGS  ?=
BIN      := bin/rota
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VULN     := golang.org/x/vuln/cmd/govulncheck@v1.9.0
export CGO_ENABLED ?= 0

.PHONY: help run build test race check fmt bench fuzz sim chaos soak cgroup2 deps clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

build: ## build bin/rota
	$(GO) build -trimpath -o $(BIN) ./cmd/rota

run: build ## build everything and start it with the example tasks
	$(BIN) up -f examples $(ARGS)

deps: ## install what the tests need besides Go (PostgreSQL, OpenSSH, tools for networks)
	@sh test/deps.sh

test: deps ## run every test
	$(GO) test -count=1 -timeout 20m ./...

race: deps ## run every test with the race detector
	CGO_ENABLED=1 $(GO) test -count=1 -race -timeout 40m ./...

check: ## format, vet, lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) run $(LINT) run ./...

fmt: ## format
	gofmt -w $$(git ls-files '*.go')

bench: ## measure, and write docs/benchmarks.md
	$(GO) run ./test/bench

fuzz: ## random tests with fresh seeds, then fuzz every parser for FUZZTIME (30s) each
	sh test/fuzz.sh $(or $(FUZZTIME),30s)

sim: ## play SEEDS (2000) fresh scenarios in virtual time; failures are shrunk for SHRINK (60) seconds
	ROTA_RANDOM=$(if $(SEED),,1) ROTA_SEED=$(SEED) ROTA_SIM_SEEDS=$(or $(SEEDS),2000) ROTA_SIM_SHRINK=$(or $(SHRINK),60) \
		$(GO) test -count=1 -v -timeout 24h -run TestScenarios ./test/sim

chaos: deps ## trouble for a real cluster in networks of its own, for SECONDS (300), by SEED; root only
	ROTA_CHAOS_SECONDS=$(or $(SECONDS),300) ROTA_CHAOS_SEED=$(SEED) $(GO) test -count=1 -v -timeout 24h ./test/chaos
	ROTA_CHAOS_SECONDS=$(or $(SECONDS),300) $(GO) test -count=1 -v -timeout 24h ./test/cluster

soak: ## a steady load on a real cluster for SECONDS (3600); what it holds must stay flat
	ROTA_SOAK_SECONDS=$(or $(SECONDS),3600) $(GO) test -count=1 -v -timeout 24h -run 'TestSoak$$' ./test/soak

cgroup2: ## the tests of control groups in an emulated machine that has nothing but version 2; root on Debian only
	RELEASE=$(RELEASE) sh test/cgroup2.sh

clean: ## remove what was built
	rm -rf bin
