#!/bin/sh
# Runs the scaled tests at full size, one after the other: most of an hour on two idle cores, and some hours for those with
# failovers. FACTOR multiplies every size; 0.05 makes one run of each failover. A second argument, a regular expression, chooses tests:
#     internal/tools/campaign.sh 1 'TestRedisSentinelFailover/kill'
# A test that fails shows its log; the others still run. The whole output of each is in bin/campaign/TEST.log. Tests that
# measure write a line for each run to bin/campaign/TEST.figures; the greatest value of each figure and the 99th percentile are
# shown at the end.
set -eu
factor=${1:-1}
chosen=${2:-.}
failed=0
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p bin/campaign

# full SCALE PACKAGE TEST WHAT runs a test, or a subtest TEST/NAME, at SCALE times the size that it has in make test.
full() {
	echo "$3" | grep -qE "$chosen" || return 0
	scale=$(awk "BEGIN { print $1 * $factor }")
	name=$(echo "$3" | tr / -)
	echo "== $4 ($3, scale $scale)"
	rm -f "bin/campaign/$name.figures"
	WEIR_TEST_FIGURES=$PWD/bin/campaign/$name.figures WEIR_TEST_SCALE=$scale \
		go test -count 1 -timeout 3h -v -run "^$(echo "$3" | sed 's,/,$/^,')\$" "./test/$2" >"$dir/log" 2>&1 || {
		cat "$dir/log"
		failed=$((failed + 1))
	}
	cp "$dir/log" "bin/campaign/$name.log"
	if grep -qE 'no tests to run' "$dir/log"; then
		echo "no test $3 in test/$2"
		failed=$((failed + 1))
	fi
	grep -E '^ +[a-z_]+_test\.go:[0-9]+: |^ *--- ' "$dir/log" | grep -vE ': (log|run): ' || true
	if test -f "bin/campaign/$name.figures"; then
		cat "bin/campaign/$name.figures" >>"$dir/figures"
	fi
}

# summary prints, for each figure of each test, the number of runs, the sum of counts, the greatest value and the 99th percentile.
summary() {
	tr ' ' '\n' <"$1" | awk -F= 'NF == 1 { test = $1 } NF == 2 { print test, $1, $2 }' | sort -k1,2 -k3,3n | awk '
		function row(a, b, c, d, e, f) { printf "%-56s %-34s %5s %10s %10s %10s\n", a, b, c, d, e, f }
		function line() { if (n) row(test, figure, n, figure ~ /_ms$/ ? "-" : sum, value[n], value[int((n * 99 + 99) / 100)]) }
		BEGIN { row("test", "figure", "runs", "sum", "max", "p99") }
		$1 != test || $2 != figure { line(); test = $1; figure = $2; n = 0; sum = 0 }
		{ value[++n] = $3; sum += $3 }
		END { line() }'
}

full 230 tcp TestStreamsArriveWhole "100 GB in random pieces, half-closed in random order"
full 18 tcp TestLongSession "one session of 5 GiB"
full 20 tcp TestTruncationIsAlwaysVisible "4,000 sessions cut at random moments"
full 20 tcp TestSessionsDoNotMix "6,000 sessions, 1,000 beside each other, some of them killed"
full 200 tcp TestRefusingLevelFailsNoClient "100,000 connections with two of three servers refusing, with passive health and without"
full 300 tcp TestServersFailAndReturn "3,600 deaths of servers that come back"
full 5 reload TestReloadsUnderLoad "1,000 reloads under load"
full 7 upgrade TestUpgradesUnderLoad "35 upgrades with 2,100 long sessions under load"
full 7 upgrade TestUpgradeMovesFlows "35 upgrades with 500 flows"
full 7 upgrade TestKillDuringUpgrade "kills at random moments of upgrades"
full 40 tcp TestSessionsLeakNothing "80,000 sessions of every ending"
full 20 udp TestUDPManyShortFlows "100,000 flows"
full 2.5 udp TestUDPFlood "50,000 sources of one datagram"
full 5 udp TestUDPStalledServer "100,000 datagrams of 65,507 bytes to a server that reads nothing"
full 1 tcp TestRatesOfManySessions "100 sessions within 5 % of their rate"
full 1 tcp TestSlotIsFreedImmediately "the next session within 100 ms of an end"
full 1 tcp TestConnectTimeoutThenNextServer "the next server within 200 ms of a timeout"
full 1 tcp TestICMPRefusalIsQuick "the next server within 150 ms of a refusal by ICMP"
full 1 tcp TestMixedAddressFamilies "addresses of both families within 150 ms"
full 1 cli TestStopIdle "a stop without sessions within 500 ms"
full 1 cli TestStopDrains "a stop within 500 ms of the last session"
full 1 cli TestSecondSignalStopsNow "an immediate stop within 500 ms"
full 1 health TestStopNowWithHangingHook "an immediate stop within 700 ms of a hook that hangs"
full 1 health TestServerMaxSessions "another server within 200 ms when one is full"
full 1 health TestPostgreSQLRoles "a switch-over and a death of a PostgreSQL primary"
full 10 health TestPatroniLeaderChanges "10 switch-overs and 10 deaths of a Patroni leader, without a lost write"
full 24 discovery TestThousandServersChange "1,000 found servers that change ten times a second for two minutes"
full 10 tcp TestRebalanceRedisPools "2,000 sessions of real Redis pools rebalanced"
full 10 tcp TestRebalanceMariaDBPool "600 sessions of a real MariaDB pool rebalanced"
full 20 fleet TestOverrideIsInForceSoon "100 overrides of a fleet: the time to the last of three nodes"
full 20 fleet TestNodesAgreeAfterLeaderKills "1,000 overrides of a fleet with 20 kills of the leader of etcd"
full 1 fleet TestStoreFaultsHaveNoEffect "etcd frozen for five minutes, filled and wiped, under load"
full 1 fleet TestSessionsOfServerStayBelowLimit "100 partitions, pauses, upgrades and reloads of three nodes that share a limit of 100"
full 1 fleet TestDeath "kill -9, a lost link and a silent node of three at 220 connections per second"
full 1 fleet TestDrain "drains of nodes at 220 connections per second"
full 1 rollout TestRollOut "a configuration that breaks a cluster ends at the first of three nodes with clients"
full 10 failover TestMariaDBSwitchOver "20 switch-overs by hand with 8 clients: nothing lost, no client fails to connect"
full 20 failover TestMariaDBFailover "20 ends of a semi-synchronous primary with 6 clients: nothing lost, no client fails to connect"
full 20 failover TestMariaDBTwoWritableServers "20 times two writable servers: the right one or none"
full 20 failover TestGalera/HasOneWriter "20 times the end, the return, a desync and a rejection of Galera's writer: one writer"
full 20 failover TestScriptedFailovers "1,000 failovers with scripted Sentinels"
full 100 tcp TestRoutesCostLittle "100,000 connections with sni routes and 100,000 without: the same processor time and rate within a tenth"
for fault in planned kill_restart_1s kill_restart_5s kill_restart_8s stop_9s cut_one_sentinel cut_two_sentinels; do
	full 20 failover TestRedisSentinelFailover/$fault "20 failovers of real Redis and Sentinels: $fault"
done
for fault in planned kill_restart_1s kill_restart_5s kill_restart_8s stop_9s; do
	full 20 failover TestRedisRoleCheckFailover/$fault "20 failovers with a role check instead of a topology: $fault"
done
if test -f "$dir/figures"; then
	summary "$dir/figures"
fi
test $failed = 0 || { echo "$failed failed"; exit 1; }
