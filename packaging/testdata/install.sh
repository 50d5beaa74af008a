# The life of the package on a Debian system: install.sh PACKAGE FOLDER. The system is this machine's own, seen through an
# overlay that is thrown away, in name spaces of its own: nothing here changes the machine. Run by unshare.
set -eu
package=$1
scratch=$2
root=$scratch/root

mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
cp "$package" "$root/tmp/weir.deb"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
rm -f "$root/var/lib/man-db/auto-update" # the index of all manual pages would be rebuilt each time
ip link set lo up

cat >"$root/tmp/life.sh" <<'LIFE'
set -eu
say() { echo "== $*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
until_ok() { # tries a command for ten seconds
	n=0
	until "$@" >/dev/null 2>&1; do
		n=$((n + 1))
		[ $n -lt 100 ] || fail "$*"
		sleep 0.1
	done
}
listing() { find /etc /usr /var /lib/systemd /srv /opt -xdev \( -path /var/lib/dpkg -o -path /var/cache/man -o -path /var/log/dpkg.log -o -name '*-' \) -prune -o -print | sort; }

if dpkg -s weir >/dev/null 2>&1; then dpkg -P weir; fi
listing >/tmp/before

say install
dpkg -i /tmp/weir.deb
[ -z "$(dpkg --verify weir)" ] || fail "dpkg --verify: $(dpkg --verify weir)"
getent passwd weir | grep -q nologin || fail "no user weir"
[ -L /etc/systemd/system/multi-user.target.wants/weir.service ] || fail "the service is not enabled"
[ "$(weir version)" = "$(/usr/bin/weir version)" ]
for page in 1/weir.1 5/weir.toml.5; do
	man --warnings -l "/usr/share/man/man$page.gz" >/dev/null 2>/tmp/complaints
	[ ! -s /tmp/complaints ] || fail "$page: $(cat /tmp/complaints)"
done
bash -n /usr/share/bash-completion/completions/weir
for file in README.md docs/operating.md conf/README.md admin/openapi.yaml examples/redis-sentinel.toml examples/limits.conf examples/runit examples/weir.rules.yml examples/Containerfile; do
	[ -s "/usr/share/doc/weir/$file" ] || fail "no $file"
done
for file in /usr/share/doc/weir/examples/*.toml; do weir check --syntax "$file"; done

say unit
systemd-analyze verify --man=no weir.service 2>/tmp/complaints || fail "$(cat /tmp/complaints)"
[ ! -s /tmp/complaints ] || fail "$(cat /tmp/complaints)"
systemd-analyze security --no-pager --offline=true --threshold=25 /lib/systemd/system/weir.service >/tmp/security || fail "$(tail -1 /tmp/security)"

say run # what the unit says, by hand
grep -q '^User=weir$' /lib/systemd/system/weir.service
for folder in run lib log; do
	case $folder in run) at=/run/weir ;; *) at=/var/$folder/weir ;; esac
	install -d -o weir -g weir "$at"
done
pre=$(sed -n 's/^ExecStartPre=//p' /lib/systemd/system/weir.service)
run=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/weir.service)
setpriv --reuid weir --regid weir --init-groups $pre
setpriv --reuid weir --regid weir --init-groups $run 2>/tmp/log &
pid=$!
until_ok weir status
[ "$(stat -c %U "/proc/$pid")" = weir ] || fail "runs as $(stat -c %U "/proc/$pid")"
weir status | grep -q 127.0.0.1:16379 || fail "no listener"
weir server example/127.0.0.1:6379 drain
weir reload
weir explain example/127.0.0.1:6379 | grep -q drain || fail "the drain is forgotten"
weir stop
wait $pid || fail "exit code $?: $(cat /tmp/log)"
[ -s /var/lib/weir/state ] || fail "no state file"

say supervised # without systemd, as the example for runit says
sh /usr/share/doc/weir/examples/runit >/tmp/log 2>&1 &
pid=$!
until_ok weir status
[ "$(stat -c %U "/proc/$pid")" = weir ] || fail "runs as $(stat -c %U "/proc/$pid")"
grep -q '^CapEff:	0000000000000400' "/proc/$pid/status" || fail "$(grep Cap "/proc/$pid/status")"
weir stop
wait $pid || fail "exit code $?: $(cat /tmp/log)"

say upgrade # the administrator's changes stay
sed -i 's/name = "example"/name = "changed"/' /etc/weir/weir.toml
dpkg -i /tmp/weir.deb
grep -q 'name = "changed"' /etc/weir/weir.toml || fail "the configuration was overwritten"

say remove # the configuration stays
dpkg -r weir
[ ! -e /usr/bin/weir ] || fail "the program is still there"
[ ! -e /lib/systemd/system/weir.service ] || fail "the unit is still there"
grep -q changed /etc/weir/weir.toml || fail "the configuration is gone"

say purge # nothing stays
dpkg -P weir 2>/dev/null
listing >/tmp/after
diff /tmp/before /tmp/after || fail "something is left behind"
if getent passwd weir; then fail "the user is left behind"; fi
say done
LIFE
chroot "$root" sh /tmp/life.sh
