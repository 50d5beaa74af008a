# The life of a container: container.sh ROOT CONFIGURATION. ROOT holds the files of the image. weir is PID 1 in it, and its
# configuration is a ConfigMap: a folder whose link ..data is replaced at once. Run by unshare in name spaces of its own.
set -eu
root=$1
config=$2
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
mount -t proc proc /proc
ip link set lo up

say server # the Redis of the configuration, in a network of its own
unshare --net sh -c 'until ip link set server up 2>/dev/null; do sleep 0.05; done
	ip addr add 10.0.0.21/24 dev server; ip link set lo up
	exec redis-server --bind 10.0.0.21 --port 6379 --save "" --protected-mode no --dir "$0"' "$(mktemp -d)" >/dev/null 2>&1 &
server=$!
apart() { [ "$(readlink /proc/$server/ns/net)" != "$(readlink /proc/self/ns/net)" ]; }
until_ok apart
ip link add node type veth peer name server netns $server
ip addr add 10.0.0.1/24 dev node
ip link set node up

say start
etc=$root/etc/weir
swap() { # replaces the ConfigMap as the kubelet does
	mkdir "$etc/..$1"
	cat >"$etc/..$1/weir.toml"
	chmod -R a+rX "$etc/..$1"
	ln -s "..$1" "$etc/..data_tmp"
	mv -T "$etc/..data_tmp" "$etc/..data"
}
swap 2026_01_01 <"$config"
ln -s ..data/weir.toml "$etc/weir.toml"
mkdir "$root/proc"
inside() { chroot --userspec=65532:65532 "$root" /usr/local/bin/weir "$@"; }
inside check -c /etc/weir/weir.toml
unshare --pid --fork --kill-child sh -c 'mount -t proc proc "$0/proc"
	exec chroot --userspec=65532:65532 "$0" /usr/local/bin/weir run -c /etc/weir/weir.toml' "$root" &
weir=$!
until_ok curl -fs http://127.0.0.1:9280/readyz
curl -fs http://127.0.0.1:9280/v1/status | grep -q '"pid": *1,' || fail "weir is not PID 1"
pong() { [ "$(redis-cli -p 6379 ping)" = PONG ]; }
until_ok pong

say reload # the link is replaced, then weir is told
weight() { curl -fs http://127.0.0.1:9280/v1/status | grep -q '"weight": *77\b'; }
weight && fail "the weight is there already"
sed 's/"10.0.0.22:6379"/"10.0.0.22:6379 weight=77"/' "$config" | swap 2026_01_02
rm -r "$etc/..2026_01_01"
inside reload
weight || fail "the reload did not read the new files"
until_ok pong

say upgrade # PID 1 stays and passes signals on
kill -USR2 "$(cat /proc/$weir/task/$weir/children)"
successor() { ! curl -fs http://127.0.0.1:9280/v1/status | grep -q '"pid": *1,'; }
until_ok curl -fs http://127.0.0.1:9280/healthz
until_ok successor
until_ok pong

say stop # TERM to PID 1, as the kubelet sends it
kill -TERM "$(cat /proc/$weir/task/$weir/children)"
code=0
wait $weir || code=$?
[ $code = 0 ] || fail "weir ended with $code"
say done
