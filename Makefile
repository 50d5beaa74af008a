# Pinned: nothing here fetches a newer toolchain or an unpinned module.
export GOTOOLCHAIN = local
export GOFLAGS = -buildvcs=false

STATICCHECK = go tool -modfile=internal/tools/go.mod staticcheck
GOVULNCHECK = go tool -modfile=internal/tools/go.mod govulncheck

.PHONY: build test check deps fleet-demo fleet-campaign vulncheck fuzz headers instances soak bench demo deb lintian package-upgrade alerts half-day clean campaign

build:
	CGO_ENABLED=0 go build -trimpath -o bin/weir ./cmd/weir
	CGO_ENABLED=0 go build -trimpath -o bin/demo ./cmd/demo

# Runs weir in front of three servers in two levels, to watch a failover. Needs only Go.
demo: build
	bin/demo

# Runs three weirs, an etcd of three members, and BIRD with an ECMP router in network namespaces; the operator types commands.
fleet-demo: deps
	@mkdir -p bin
	go test -c -o bin/fleet-demo ./test/fleet
	cd test/fleet && ../../bin/fleet-demo -test.run '^TestDemo$$' -typed

# Everything that must pass before a commit. Packages are tested one after the other: most tests wait for timers, and
# parallel packages disturb their time measurements. check has vetted them. The black-box tests share one build of weir.
test: deps build check
	go build -race -o bin/weir-race ./cmd/weir
	WEIR_TEST_BINARY="$(CURDIR)/bin/weir-race" go test -race -shuffle=on -vet=off -p 1 -timeout 15m ./...

check:
	@files="$$(gofmt -l $$(git ls-files '*.go'))"; test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }
	go mod tidy -diff
	go vet ./...
	$(STATICCHECK) ./...
	go test .

# Installs the programs that tests and the bench use, if they are missing.
deps:
	@sh internal/tools/packages.sh

# Looks for known vulnerabilities in the code that weir uses. Needs a network, so it is not part of check.
vulncheck:
	$(GOVULNCHECK) ./...

# Runs each fuzz target for FUZZTIME. EXECS=3000000 runs each until it has had that many executions in all runs, continues
# where an interrupted run stopped, and writes the table bin/fuzz/executions.txt.
FUZZTIME = 30s
fuzz:
	@sh internal/tools/fuzz.sh $(if $(EXECS),$(EXECS)x,$(FUZZTIME))

# Compares ten million random PROXY headers with another implementation; takes about ten minutes.
headers:
	go test ./internal/proxy -run TestGenerated -headers 10000000 -timeout 1h -v

# Lets 64 instances choose among 10,000 servers whose states they learn at different times; takes about half a minute.
instances:
	go test ./balance -run TestInstancesChooseSameServer -instances 64 -v

# Runs all features together for MINUTES and accounts for every session; see internal/soak. SEED repeats a run's decisions.
MINUTES = 10
soak: build
	go run ./cmd/soak -time $(MINUTES)m $(if $(SEED),-seed $(SEED)) $(SOAKFLAGS)

# Runs the scaled tests at full size: 100 GB, 100,000 connections, 1,000 reloads, 35 upgrades. FACTOR=0.1 is a tenth of it.
# TESTS is a regular expression that chooses tests.
FACTOR = 1
campaign: deps
	sh internal/tools/campaign.sh "$(FACTOR)" "$(or $(TESTS),.)"

# Runs what a fleet must reach at full size, on an otherwise idle machine: about a quarter of an hour. The whole output is in
# bin/campaign, the summary in bin/campaign/fleet.txt.
FLEETTESTS = ^TestOverrideIsInForceSoon|^TestNodesAgreeAfterLeaderKills|^TestStoreFaults|^TestSessionsOfServerStayBelowLimit|^TestDeath|^TestDrain|^TestRollOut
fleet-campaign: deps
	@mkdir -p bin/campaign
	sh internal/tools/campaign.sh "$(FACTOR)" '$(FLEETTESTS)' >bin/campaign/fleet.txt 2>&1; \
		status=$$?; cat bin/campaign/fleet.txt; exit $$status

# Compares weir with HAProxy and nginx; takes about an hour for each congestion control on an otherwise idle machine.
bench: deps build
	go run ./bench -congestion cubic,bbr $(BENCHFLAGS)
	go test -run '^$$' -bench Pick -benchtime 20000x ./balance | tee bench/results/picks.txt

# Builds the Debian package with manual pages: bin/package/weir_VERSION_ARCH.deb. Needs dpkg-deb and no network.
PACKAGE = bin/package
deb:
	@mkdir -p $(PACKAGE)
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(PACKAGE)/weir ./cmd/weir
	go run ./packaging/man weir 1 "layer-4 load balancer" <packaging/man/weir.1.md >$(PACKAGE)/weir.1
	go run ./packaging/man weir.toml 5 "configuration of weir" <conf/README.md >$(PACKAGE)/weir.toml.5
	sh packaging/deb/build.sh $(PACKAGE)

# Runs lintian on the package; not part of test.
lintian: deb
	lintian --tag-display-limit 0 --fail-on error,warning $(PACKAGE)/weir_*.deb

# Installs the package over a weir that runs under systemd, while its file is broken and after it is mended: no session is lost.
package-upgrade:
	go test ./packaging -count 1 -v -run 'TestPackage|TestUnit'

# Runs the alerts in a real Prometheus: none may fire for ten minutes about a healthy cluster with roles, and for five after a failover.
alerts: deps
	go test ./test/health -count 1 -v -timeout 30m -run TestAlertsInPrometheus -alerts 10m

# Replays an operator's first half day with real servers, on an otherwise idle machine: about 20 minutes, a line for each step. The
# whole output is in bin/half-day. STEPS is a regular expression that chooses steps.
half-day: deps build
	@sh internal/tools/half-day.sh '$(or $(STEPS),.)'

clean:
	rm -rf bin
