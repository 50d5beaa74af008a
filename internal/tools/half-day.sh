#!/bin/sh
# Replays an operator's first half day with real servers, through the built program: start, three recipes, mistakes in files, failover,
# drain, upgrade, an upgrade of the package over a broken file, alerts, screens, and 10,000 servers. About 20 minutes. Prints a line
# for each step; the whole output of each is in bin/half-day/STEP.log. A step that fails shows the end of its output; the others still
# run. An argument, a regular expression, chooses steps:
#     internal/tools/half-day.sh recipe
set -eu
chosen=${1:-.}
dir=bin/half-day
mkdir -p $dir
failed=0
export WEIR_TEST_BINARY="$PWD/bin/weir"

# step NAME WHAT COMMAND... runs a step, which writes to $log, and prints its result.
step() {
	name=$1 what=$2
	shift 2
	echo "$name" | grep -qE "$chosen" || return 0
	log=$dir/$name.log
	began=$(date +%s)
	result=pass
	"$@" >"$log" 2>&1 || result=FAIL
	printf '%s %4d s  %-14s %s\n' $result $(($(date +%s) - began)) "$name" "$what"
	if [ $result = FAIL ]; then
		failed=$((failed + 1))
		tail -n 40 "$log" | sed 's/^/    /'
	fi
}

# tests PACKAGE TEST... runs tests. Each of them must exist.
tests() {
	package=$1
	shift
	go test -count 1 -v -timeout 1h -run "^($(echo "$*" | tr ' ' '|'))\$" "$package" || return 1
	for test; do
		grep -q "^--- PASS: $test " "$log" || { echo "no test $test in $package"; return 1; }
	done
}

# full is tests, with all files and without allowance for a busy machine.
full() (
	export WEIR_TEST_SCALE=1
	tests "$@"
)

start() {
	tests ./cmd/demo TestInteractiveDemo TestScriptedFailover && tests ./docs TestConfigurationsAreValid && tests ./packaging TestExamples
}

drain() {
	tests ./test/cli TestStopDelay TestStopDrains TestStopDrainsFlows && tests ./test/health TestDrainDeadline
}

servers() { # one after the other, because both measure times
	full ./test/cli TestTenThousandServersAreShownQuickly && full ./test/cli TestDashboard
}

step start "the demo, and every configuration in the documents" start
step recipe-redis "Redis with Sentinel, as the example is" tests ./test/failover TestRedisSentinelExample
step recipe-galera "Galera, as the example is; two instances choose one writer" full ./test/failover TestGalera
step recipe-dns "DNS, as the example is" tests ./test/failover TestDNSExample
step mistakes "every mistake in a file: weir check, and a reload under a session" full ./test/cli \
	TestCheckReportsMistakes TestReloadsWithMistakesChangeNothing
step operator "drain, weights, a dead server, a reload, a restart" tests ./test/cli TestOperatorScenario TestClientServer TestWaitingIsVisible
step failover "Redis and MariaDB change their primary under writes" tests ./test/failover \
	TestRedisSentinelFailover TestMariaDBSwitchOver TestMariaDBFailover
step drain "a stop lets sessions and flows finish; a drain ends at its deadline" drain
step upgrade "the program is replaced under load" tests ./test/upgrade \
	TestUpgradesUnderLoad TestUpgradeKeepsRealClients TestUpgradeMovesFlows TestUpgradeFails TestUpgradeKeepsState
step package "the package is installed over a weir whose file is broken" make -s package-upgrade
step screens "lists and weir top at 80, 120 and 200 columns" tests ./internal/cli TestScreens TestNarrowScreensKeepWhatMatters TestTopScreens
step servers "10,000 servers: status, top and dashboard in 300 ms" servers
step alerts "Prometheus: no alert for ten minutes, and none for a failover" make -s alerts
[ $failed = 0 ] || { echo "$failed failed: see $dir"; exit 1; }
