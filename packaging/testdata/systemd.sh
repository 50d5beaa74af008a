# The unit under systemd: systemd.sh PACKAGE FOLDER RESULTS. The system is this machine's own, seen through an overlay that is
# thrown away. systemd is PID 1 of a PID namespace and manages a cgroup of its own. Run by unshare.
set -eu
package=$1
scratch=$2
results=$3
root=$scratch/root

mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for folder in run tmp dev; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
chmod 755 "$root/run" "$root/dev"
mkdir "$root/dev/shm" "$root/dev/pts"
for device in null zero full random urandom tty; do
	touch "$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s pts/ptmx "$root/dev/ptmx"
touch "$results/console"
ln -s /results/console "$root/dev/console"
mkdir "$root/results"
mount --bind "$results" "$root/results"
cp "$package" "$root/weir.deb"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
rm -f "$root/var/lib/man-db/auto-update"
ip link set lo up

chroot "$root" sh -c 'if dpkg -s weir >/dev/null 2>&1; then dpkg -P weir; fi; dpkg -i /weir.deb' >"$results/install" 2>&1
# Nothing but weir and the test starts.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/*.requires
: >"$root/etc/machine-id"
mkdir "$root/etc/systemd/system/weir.service.d"
# The watchdog does not take half a minute, and no journal runs.
printf '[Service]\nWatchdogSec=2\nStandardOutput=append:/results/log\nStandardError=append:/results/log\n' >"$root/etc/systemd/system/weir.service.d/test.conf"
cat >"$root/etc/systemd/system/life.service" <<'UNIT'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=/bin/sh /life.sh
ExecStopPost=/bin/systemctl exit 0 --force
StandardOutput=append:/results/life
StandardError=append:/results/life
TimeoutStartSec=100
UNIT

cat >"$root/life.sh" <<'LIFE'
set -eu
say() { echo "== $*"; }
fail() { echo "FAILED: $*"; systemctl status --no-pager weir; exit 1; }
shows() { [ "$(systemctl show -p "$1" --value weir)" = "$2" ] || fail "$1: want $2, got $(systemctl show -p "$1" --value weir)"; }
pid() { systemctl show -p MainPID --value weir; }
until_ok() { # tries a command for 20 seconds
	n=0
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 200 ] || fail "$*"
		sleep 0.1
	done
}
has_another_pid() { [ "$(pid)" != "$1" ] && [ "$(pid)" != 0 ] && weir status; }

say start # returns when weir is ready
systemctl start weir || fail "not ready"
shows ActiveState active
weir status | grep -q 127.0.0.1:16379 || fail "no listener"
[ "$(stat -c %U "/proc/$(pid)")" = weir ] || fail "runs as $(stat -c %U "/proc/$(pid)")"
for line in 'NoNewPrivs:	1' 'Seccomp:	2' 'CapBnd:	0000000000000400' 'CapEff:	0000000000000400'; do
	grep -q "^$line" "/proc/$(pid)/status" || fail "not $line: $(cat "/proc/$(pid)/status")"
done
weir server example/127.0.0.1:6379 drain

say reload # keeps the process, and its changes
first=$(pid)
systemctl reload weir
shows MainPID "$first"
weir explain example/127.0.0.1:6379 | grep -q drain || fail "the drain is lost"
cp /etc/weir/weir.toml /tmp/good
echo 'bad = 1' >>/etc/weir/weir.toml
if systemctl reload weir; then fail "an invalid file is accepted"; fi
shows ActiveState active
shows MainPID "$first"
cp /tmp/good /etc/weir/weir.toml

say upgrade # the new process is the main one
weir upgrade
until_ok has_another_pid "$first"
shows ActiveState active
shows NRestarts 0
second=$(pid)
systemctl reload weir
shows MainPID "$second"

say package # an upgrade of the package over a broken file ends no session
redis-server --port 6379 --save '' --daemonize yes >/dev/null
weir server example/127.0.0.1:6379 reset
until_ok redis-cli -p 16379 ping
mkfifo /tmp/commands
redis-cli -p 16379 </tmp/commands >/tmp/replies &
exec 3>/tmp/commands
echo PING >&3
replied() { [ "$(grep -c PONG /tmp/replies)" = "$1" ]; }
until_ok replied 1
echo 'bad = 1' >>/etc/weir/weir.toml
dpkg -i /weir.deb >/tmp/dpkg 2>&1 || fail "dpkg: $(cat /tmp/dpkg)"
grep -q 'not upgraded: the running weir continues' /tmp/dpkg || fail "no word of the refusal: $(cat /tmp/dpkg)"
grep -q 'weir.toml:.*bad' /tmp/dpkg || fail "no cause: $(cat /tmp/dpkg)"
shows ActiveState active
shows MainPID "$second"
shows NRestarts 0
echo PING >&3
until_ok replied 2
cp /tmp/good /etc/weir/weir.toml
dpkg -i /weir.deb >/tmp/dpkg 2>&1 || fail "dpkg: $(cat /tmp/dpkg)"
if grep -q '^weir: ' /tmp/dpkg; then fail "an upgrade that succeeds complains: $(cat /tmp/dpkg)"; fi
until_ok has_another_pid "$second"
shows NRestarts 0
second=$(pid)
echo PING >&3
until_ok replied 3
exec 3>&-
weir server example/127.0.0.1:6379 drain
redis-cli -p 6379 shutdown nosave

say crash # starts it again
kill -9 "$second"
until_ok has_another_pid "$second"
shows NRestarts 1
weir explain example/127.0.0.1:6379 | grep -q drain || fail "the drain is lost"

say watchdog # so does a process that hangs, and only that
third=$(pid)
sleep 3
shows MainPID "$third"
kill -STOP "$third"
until_ok has_another_pid "$third"
shows NRestarts 2

say stop
systemctl stop weir
shows ActiveState inactive
shows Result success
[ ! -e /run/weir ] || fail "the runtime directory is left: $(ls -la /run/weir)"

say address # follows the service, and a crash leaves none behind
has_address() { ip address show lo | grep -q 10.9.9.9; }
has_no_address() { ! has_address; }
mkdir -p /etc/systemd/system/weir.service.d
printf '[Service]\nRestart=no\nAmbientCapabilities=CAP_NET_ADMIN\nCapabilityBoundingSet=CAP_NET_ADMIN\n' >/etc/systemd/system/weir.service.d/vip.conf
printf '[[vip]]\naddress = "10.9.9.9/32"\nhold = "0s"\n' >>/etc/weir/weir.toml
systemctl daemon-reload
systemctl start weir
until_ok has_address
kill -9 "$(pid)"
until_ok has_no_address
systemctl reset-failed weir
systemctl start weir
until_ok has_address
systemctl stop weir
has_no_address || fail "the address is left"
cp /tmp/good /etc/weir/weir.toml

say invalid # is not started over and over
echo 'bad = 1' >>/etc/weir/weir.toml
if systemctl start weir; then fail "an invalid file is accepted"; fi
systemctl reset-failed weir
say done
LIFE
# The units get mount namespaces of their own, for which / must be a mount.
cd "$root"
mkdir before
pivot_root . before
umount -l /before
exec env -i container=weir PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=life.service --log-target=console --show-status=no
