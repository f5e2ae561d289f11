# Everything that is done with this repository. Needs Go, make and, for what runs the cluster, root on Debian.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The tag of the images is the one the manifests name.
VERSION ?= $(shell sed -n 's/^ *newTag: //p' manifests/base/kustomization.yaml | head -n 1)
COMMIT  ?= $(shell git describe --match= --always --abbrev=40 --dirty 2>/dev/null)
DATE    ?= $(shell git log -1 --format=%cI 2>/dev/null)
ARCHES  ?= amd64 arm64
NODES   ?= 3
SERVICES ?= 1000

# A clone by another user, or as root of somebody's clone, must build too. All is built in the images' way, but for the race detector's tests, so that a
# package is compiled once.
export GOFLAGS += -buildvcs=false -trimpath
export CGO_ENABLED := 0

.PHONY: help
help: ## show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: bin/cluster images-native ## show the main job on a real cluster, which is left running (root)
	go run ./test/e2e/demo

.PHONY: test
test: test-unit test-e2e ## run every test (root)

# Other schedules each time: what is printed runs the same again.
.PHONY: test-unit
test-unit: c-compiler ## run unit tests with the race detector, and 300 more fault schedules of the election without it
	CGO_ENABLED=1 go test -race ./...
	CGO_ENABLED=1 go test -C test/cluster -race ./...
	go test -C manifests/build ./...
	@schedules="go test ./l2/election -count=1 -run ^TestRandomFaults$$ -schedules 300 -seed $$(date +%s)"; echo "$$schedules"; $$schedules

.PHONY: test-e2e
test-e2e: bin/cluster images-native ## run the end-to-end tests on a real cluster (root)
	go test -tags e2e ./test/e2e -v -timeout 40m -count=1

# SEED is the first of the schedules; a schedule that fails says how to run it again.
SCHEDULES ?= 10000
SEED ?= 1
SCALE_NODES ?= 200
SCALE_VIPS ?= 10000

.PHONY: sim
sim: ## run the election in virtual time: fault schedules, then a large cluster (SCHEDULES=500 SCALE_NODES=40 for a short one)
	@mkdir -p bin out
	go test -c -o bin/election.test ./l2/election
	bin/election.test -test.run '^TestRandomFaults$$' -test.timeout 0 -schedules $(SCHEDULES) -seed $(SEED) -table | tee out/sim.txt
	bin/election.test -test.run '^TestScale$$' -test.timeout 0 -scale-nodes $(SCALE_NODES) -scale-vips $(SCALE_VIPS) | tee -a out/sim.txt

.PHONY: bench-arp
bench-arp: ## measure ARP and NDP replies beside the kernel's own, some minutes (root)
	go test -C l2/announce -count=1 -timeout 30m -run '^TestRepliesBesideTheKernel$$' -replies

RUNS          ?= 120
FAILOVER      ?= default
FAILOVER_VIPS ?= 1000
FAULTS        ?=
SOAK          ?= 20m
failover := go run ./test/e2e/failover
failover_flags = --cluster "$${L2_CLUSTER:-bench}" --failover $(FAILOVER) $(if $(KEEP),--keep)

.PHONY: bench-failover
bench-failover: bin/cluster images-native build ## measure failover; goes on where it stopped (RUNS=5 for a short one, FAILOVER=fast) (root)
	$(failover) faults $(failover_flags) --runs $(RUNS) --faults '$(FAULTS)'
	$(if $(filter-out 0,$(FAILOVER_VIPS)),$(failover) vips $(failover_flags) --runs $(RUNS) --vips $(FAILOVER_VIPS))

.PHONY: soak
soak: bin/cluster images-native build ## count false failovers while every core is busy (SOAK=2m for a short one) (root)
	$(failover) soak $(failover_flags) --out out/soak --soak $(SOAK)

.PHONY: test-long
test-long: bin/cluster images-native ## end-to-end tests that make test leaves out or cuts short: 200 crashes of the controller, 60 s without an API server, all that doctor finds (root)
	API_OUTAGE=60s go test -tags e2e ./test/e2e -run '^Test(Crash|APIServerAway|DoctorFinds)' -long -crashes 200 -v -timeout 30m -count=1

.PHONY: bench-allocation
bench-allocation: bin/cluster images-native ## measure how 1,000 Services get their addresses on a real cluster (SERVICES=1000) (root)
	go test -tags e2e ./test/e2e -run '^TestAllocationBenchmark$$' -allocation-services $(SERVICES) -v -timeout 30m -count=1

.PHONY: lint
lint: ## gofmt and go vet, on all modules
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed: $$unformatted"; exit 1; fi
	go vet ./...
	go vet -tags e2e ./test/e2e/...
	go vet -C test/cluster ./...
	go vet -C manifests/build ./...

.PHONY: build
build: ## compile the programs into bin/
	@mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

version := k8s.io/component-base/version
LDFLAGS := -s -w -X $(version).gitVersion=$(VERSION) -X $(version).gitCommit=$(COMMIT) -X $(version).buildDate=$(DATE)

.PHONY: images
images: bin/build ## build container images into out/images, without Docker (ARCHES="amd64 arm64")
	bin/build images -out out/images -version '$(VERSION)' -commit '$(COMMIT)' -date '$(DATE)' -arches '$(ARCHES)'

.PHONY: images-native
images-native: ## the same, for this machine's architecture only
	@$(MAKE) --no-print-directory images ARCHES=$$(go env GOARCH)

.PHONY: generate
generate: bin/build ## generate deepcopy code and CRDs from api/
	go tool controller-gen object crd paths=./api/v1beta1 output:crd:dir=manifests/crds
	bin/build crds manifests/crds/metallb.io_*.yaml

.PHONY: docs
docs: ## write the generated parts of docs/: flags and metrics
	UPDATE_DOCS=1 go test -count=1 -p 1 -run 'Documented$$' ./provider ./cmd/...

.PHONY: manifests
manifests: generate ## generate, render manifests/install.yaml, and copy what the Helm chart shares with the manifests
	bin/build render manifests > manifests/install.yaml.part
	mv manifests/install.yaml.part manifests/install.yaml
	bin/build chart manifests manifests/helm/cloud-provider-l2

.PHONY: cluster-up
cluster-up: bin/cluster ## bring up a test cluster (NODES=3; its name is in L2_CLUSTER) (root)
	bin/cluster up --nodes $(NODES)

.PHONY: cluster-down
cluster-down: bin/cluster ## take it down again (root)
	bin/cluster down

.PHONY: cluster-status
cluster-status: bin/cluster ## say what of it runs (root)
	bin/cluster status

# Go knows better than make when these have to be built again.
.PHONY: bin/cluster
bin/cluster:
	@mkdir -p bin
	go build -C test/cluster -o $(CURDIR)/bin/cluster .

.PHONY: bin/build
bin/build:
	@mkdir -p bin
	go build -C manifests/build -o $(CURDIR)/bin/build .

# The race detector needs a C compiler, which a machine with nothing but Go lacks.
.PHONY: c-compiler
c-compiler:
	@command -v "$$(go env CC)" >/dev/null || { \
		echo "The race detector needs a C compiler: installing gcc."; \
		apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends gcc libc6-dev >/dev/null; }
