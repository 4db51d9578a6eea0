# placed: `make demo` shows it, `make test` proves it. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
# With gcc the binary has the libvirt driver. It loads libvirt.so.0 only when the
# driver is configured, so it starts anywhere; CGO_ENABLED=0 builds without it.
CGO     := $(if $(and $(shell command -v gcc),$(filter-out 0,$(or $(CGO_ENABLED),1))),1,0)
BUILD    = CGO_ENABLED=$(CGO) $(GO) build $(if $(filter 1,$(CGO)),-tags libvirt_dlopen) -trimpath -ldflags '$(LDFLAGS)'

PURE  := ./fleet ./boost ./trace ./precopy ./cutover ./predictor ./scorer ./planner ./fsm ./simulator ./simulator/reference
SHELL_PACKAGES = $(filter-out $(addprefix github.com/placed-dev/placed/,$(PURE:./%=%)),$(shell $(GO) list ./...))

.PHONY: lab lab-demo lab-down lab-test soak-libvirt bench-moving
.PHONY: bench-sim help build demo demo-proof check test unit race e2e soak-kills soak-models bench-books lint fmt tools fuzz clean bench-gbt bench-categories bench-fsm soak-books soak-gossip

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

test: tools build lint unit race e2e lab-test ## everything that proves the product; what CI runs

unit: ## unit tests, properties, stories, golden files
	scripts/gotest -count=1 ./...

race: ## the shell packages under the race detector
	scripts/gotest -race -short -count=1 $(SHELL_PACKAGES)

e2e: build ## the fleet as real processes, end to end
	PLACED_BIN=$(CURDIR)/bin/placed scripts/gotest -count=1 -timeout 15m -tags e2e ./cmd/placed

soak-kills: build ## kill agents in the middle of moves, KILLS times (default 100)
	PLACED_BIN=$(CURDIR)/bin/placed PLACED_KILLS=$${KILLS:-100} scripts/gotest -count=1 -timeout 3h -tags e2e -run TestKillDuringMoves ./cmd/placed

.PHONY: soak mutants
soak: ## the voters in virtual time, on fresh seeds for HOURS (default 1)
	PLACED_SOAK_HOURS=$${HOURS:-1} scripts/gotest -count=1 -timeout 0 -run TestSoak ./virtual

mutants: ## plant every known bug in turn and show which check catches it
	$(GO) run ./scripts/mutants

soak-models: ## complete the searches that a normal run bounds
	PLACED_SOAK=1 scripts/gotest -count=1 -timeout 1h ./cutover

soak-books: ## 100 million random operations on the books
	PLACED_SOAK=1 scripts/gotest -count=1 -timeout 6h -run TestLongHistories ./fsm

soak-gossip: ## 1,000 members in virtual time
	PLACED_SOAK=1 scripts/gotest -count=1 -timeout 6h -run TestVirtual ./gossip

bench-fsm: ## what a grant, a capture and a hash of the books cost
	PLACED_BENCH=1 scripts/gotest -count=1 -run TestFigures ./fsm

lab: build ## three real hosts (libvirtd and QEMU in namespaces), a guest and an agent on each; needs root
	@scripts/lab-tools
	$(GO) run ./lab/placedlab up --binary $(CURDIR)/bin/placed

lab-demo: build ## three real hosts: a contention is forecast and a real VM leaves before it, seen by a prober outside; about two minutes
	@scripts/lab-tools
	$(GO) run ./lab/placedlab demo --binary $(CURDIR)/bin/placed

lab-down: ## end the lab and everything it has started, also after a crash
	$(GO) run ./lab/placedlab down

lab-test: build ## short forms of the faults on real hosts; skips without root or Debian
	scripts/lab-test

soak-libvirt: build ## every fault ROUNDS times (default 20) on real hosts
	scripts/lab-test $${ROUNDS:-20}

bench-moving: build ## what a move costs a guest, beside plain virsh, by every way; endless writers; the agent's own cost; about 15 minutes
	LAB_RUN='TestFigures|TestEndless|TestAgentCost' scripts/lab-test 10

bench-books: build ## the replicated books against etcd, as a table; BENCH_SHORT=1 takes about two minutes
	@command -v etcd >/dev/null || { test "$$(id -u)" = 0 && apt-get install -y -q etcd-server; }
	cd bench && $(GO) build -o ../bin/bench-books .
	trap 'rm -rf bin/bench-data' EXIT; mkdir -p bin/bench-data; bin/bench-books -placed bin/placed -dir bin/bench-data

bench-sim: build ## every table of docs/simulation.md, from the recorded loads in ../shared/data
	scripts/bench-sim

lint: ## formatting, vet, static analysis
	scripts/lint

fmt: ## format the sources
	gofmt -w $$(git ls-files '*.go')

fuzz: ## fuzz every decoder for 30 s each
	scripts/fuzz

bench-gbt: ## boosted trees beside scikit-learn and xgboost, one thread each
	scripts/bench-gbt

bench-categories: ## stability of categories on real VMs, beside scikit-learn
	scripts/bench-categories

clean: ## remove what was built
	rm -rf bin

.PHONY: bench-plan
bench-plan: build ## `placed plan` beside hbal, proven optima and other engines' rules, as tables
	scripts/bench-plan hbal optset sizes peers

.PHONY: bench-forecast
bench-forecast: build ## forecasts and contention beside their peers, as the tables of docs/forecasting.md
	scripts/bench-forecast

.PHONY: bench-history
bench-history: ## what the history of 500 series costs: disk, reading, ingest
	PLACED_BENCH=1 $(GO) test -v -count=1 -run '^TestFigures$$' ./telemetry

.PHONY: soak-plan
soak-plan: ## 1,000 stationary fleets for 24 virtual hours: the planner comes to rest and stays there
	PLACED_SOAK=1000 scripts/gotest -count=1 -timeout 6h -run TestStationaryFleets ./planner
