# Pinned: nothing here fetches a newer toolchain or an unpinned module.
export GOTOOLCHAIN = local
export GOFLAGS = -buildvcs=false

STATICCHECK = go tool -modfile=internal/tools/go.mod staticcheck

.PHONY: build test check race fuzz headers soak bench demo packages deb lintian clean campaign

build:
	CGO_ENABLED=0 go build -trimpath -o bin/weir ./cmd/weir
	CGO_ENABLED=0 go build -trimpath -o bin/demo ./cmd/demo

# The first thing to run: three servers in two levels, weir in front, a failover to watch. Needs nothing but Go.
demo: build
	bin/demo

# Everything that must hold before a commit. Installs the real servers that tests talk to where they are missing. One
# package after the other: most of the time of most is waiting for timers, and what they say of time is disturbed by others.
test: packages build check
	go test -race -shuffle=on -p 1 -timeout 15m ./...

check:
	@files="$$(gofmt -l $$(git ls-files '*.go'))"; test -z "$$files" || { echo "gofmt would change:"; echo "$$files"; exit 1; }
	go mod tidy -diff
	go vet ./...
	$(STATICCHECK) ./...

packages:
	@sh internal/tools/packages.sh

# Each fuzz target for FUZZTIME.
FUZZTIME = 30s
fuzz:
	@sh internal/tools/fuzz.sh $(FUZZTIME)

# Ten million random PROXY headers, compared with what another implementation makes of them; about ten minutes.
headers:
	go test ./internal/proxy -run TestGenerated -headers 10000000 -timeout 1h -v

# Everything at once for MINUTES, and every session accounted for; internal/soak says how. SEED repeats a run's decisions.
MINUTES = 10
soak: build
	go run ./cmd/soak -time $(MINUTES)m $(if $(SEED),-seed $(SEED)) $(SOAKFLAGS)

# The promises at their full size: 100 GB, 100,000 connections, 1,000 reloads, 35 upgrades and so on. FACTOR=0.1 is a tenth of it.
FACTOR = 1
campaign: packages
	sh internal/tools/campaign.sh $(FACTOR)

# Side by side with HAProxy and nginx; about half an hour on an otherwise idle machine.
bench: packages build
	go run ./bench $(BENCHFLAGS)
	go test -run '^$$' -bench Pick -benchtime 20000x ./balance | tee bench/results/picks.txt

# The Debian package, with manual pages: bin/package/weir_VERSION_ARCH.deb. Needs dpkg-deb, and no network.
PACKAGE = bin/package
deb:
	@mkdir -p $(PACKAGE)
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $(PACKAGE)/weir ./cmd/weir
	go run ./packaging/man weir 1 "layer-4 load balancer" <packaging/man/weir.1.md >$(PACKAGE)/weir.1
	go run ./packaging/man weir.toml 5 "configuration of weir" <conf/README.md >$(PACKAGE)/weir.toml.5
	sh packaging/deb/build.sh $(PACKAGE)

# What Debian's own critic says about the package; not part of test.
lintian: deb
	lintian --tag-display-limit 0 --suppress-tags statically-linked-binary $(PACKAGE)/weir_*.deb

clean:
	rm -rf bin
