# placed: `make demo` shows it, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
# The sample fleet needs no cgo; a hypervisor's driver will bring its own switch.
BUILD    = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

PURE  := ./fleet ./trace ./precopy ./cutover ./predictor ./scorer ./planner ./fsm
SHELL_PACKAGES = $(filter-out $(addprefix github.com/placed-dev/placed/,$(PURE:./%=%)),$(shell $(GO) list ./...))

.PHONY: help build demo demo-proof check test unit race e2e soak-kills soak-models lint fmt tools fuzz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

tools:
	@scripts/install-tools

build: ## build bin/placed
	@mkdir -p bin
	$(BUILD) -o bin/placed ./cmd/placed

demo: build ## run a fleet of three agents with real workloads; open the address it prints
	bin/placed dev --data-dir dev-data

demo-proof: build ## seeds 1-10 with automation observe and auto: moves happen and contention falls
	scripts/demo-proof

check: ## the inner loop: vet, lint and the quick tests, under 90 s
	$(GO) vet ./...
	scripts/lint
	scripts/gotest -short -count=1 ./...

test: tools build lint unit race e2e ## everything that proves the product; what CI runs

unit: ## unit tests, properties, stories, golden files
	scripts/gotest -count=1 ./...

race: ## the shell packages under the race detector
	scripts/gotest -race -short -count=1 $(SHELL_PACKAGES)

e2e: build ## the fleet as real processes, end to end
	PLACED_BIN=$(CURDIR)/bin/placed scripts/gotest -count=1 -timeout 15m -tags e2e ./cmd/placed

soak-kills: build ## kill agents in the middle of moves, KILLS times (default 100)
	PLACED_BIN=$(CURDIR)/bin/placed PLACED_KILLS=$${KILLS:-100} scripts/gotest -count=1 -timeout 3h -tags e2e -run TestKillDuringMoves ./cmd/placed

soak-models: ## complete the searches that a normal run bounds
	PLACED_SOAK=1 scripts/gotest -count=1 -timeout 1h ./cutover

lint: ## formatting, vet, static analysis
	scripts/lint

fmt: ## format the sources
	gofmt -w $$(git ls-files '*.go')

fuzz: ## fuzz every decoder for 30 s each
	scripts/fuzz

clean: ## remove what was built
	rm -rf bin
