#!/bin/sh
# Installs, with Debian's package manager, the missing programs that tests and the bench run against.
set -eu
want() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"; }
missing=
want redis-server redis-server
want redis-cli redis-tools
want redis-sentinel redis-sentinel
want mariadbd mariadb-server
want mariadb mariadb-client
[ -e /usr/lib/galera/libgalera_smm.so ] || missing="$missing galera-4"
want rsync rsync # Galera's state transfer
want psql postgresql-client
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$missing postgresql"
want patroni patroni
want etcd etcd-server
want etcdctl etcd-client
want haproxy haproxy
want nginx nginx
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing="$missing libnginx-mod-stream"
want dnsmasq dnsmasq-base
want nft nftables
want ip iproute2
want strace strace
want bird bird2
want keepalived keepalived
[ -x /usr/lib/frr/bgpd ] || missing="$missing frr"
want prometheus prometheus
want promtool prometheus
want man man-db
want adduser adduser
want systemd-analyze systemd
want openssl openssl
want curl curl
want gnutls-cli gnutls-bin
want gcc gcc
want chromium chromium
want wrk wrk
want iperf3 iperf3
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
	echo "missing:$missing (install them, or run this as root on Debian)" >&2
	exit 1
fi
# Keep packages from starting services: tests start what they need.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
	trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
