#!/bin/sh
# Builds the Debian package of the program and the manual pages that lie in a folder, into the same: build.sh FOLDER. It
# needs dpkg-deb and nothing from a network; the same tree gives the same package, byte for byte.
set -eu
out=$(realpath "$1")
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^const release = "\(.*\)"$/\1/p' cmd/weir/main.go)
arch=$(dpkg --print-architecture)
maintainer=${DEB_MAINTAINER:-weir <weir@example.com>}
# When the tree was last changed, for the times in the package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
put() { install -D -m "$1" "$2" "$root/$3"; }
press() { # a file, compressed without a time
	mkdir -p "$root/$(dirname "$1")"
	gzip -9n >"$root/$1"
	chmod 644 "$root/$1"
}

put 755 "$out/weir" usr/bin/weir
put 644 packaging/weir.service lib/systemd/system/weir.service
put 644 packaging/weir.toml etc/weir/weir.toml
put 644 packaging/weir.logrotate etc/logrotate.d/weir
put 644 packaging/deb/copyright usr/share/doc/weir/copyright
put 644 packaging/deb/lintian-overrides usr/share/lintian/overrides/weir
# The documents, in folders as in the source tree, so that their links lead somewhere.
for file in README.md docs/*.md conf/README.md admin/README.md admin/openapi.yaml packaging/kubernetes/README.md; do
	put 644 "$file" "usr/share/doc/weir/$file"
done
put 644 packaging/prometheus/weir.rules.yml usr/share/doc/weir/examples/weir.rules.yml
put 644 packaging/grafana/weir.json usr/share/doc/weir/examples/grafana.json
for file in packaging/examples/* packaging/kubernetes/*.yaml packaging/Containerfile; do
	put 644 "$file" "usr/share/doc/weir/examples/$(basename "$file")"
done
for page in weir.1 weir.toml.5; do
	press "usr/share/man/man${page##*.}/$page.gz" <"$out/$page"
done
# The changelog in Debian's format: no nested lists, lines of at most 80 characters, and a maintainer who signs it.
awk -v by="$maintainer" -v at="$(date -R -u -d "@$SOURCE_DATE_EPOCH")" '
	function wrap(   n, i, words, line) {
		n = split(entry, words, /[ \t]+/)
		line = " "
		for (i = 1; i <= n; i++) {
			if (words[i] == "") continue
			if (length(line) + 1 + length(words[i]) > 80) { print line; line = "   " }
			line = line " " words[i]
		}
		if (entry != "") print line
		entry = ""
	}
	function sign() { wrap(); if (open) printf "\n -- %s  %s\n\n", by, at; open = 1 }
	/^## / { sign(); printf "weir (%s) unstable; urgency=medium\n\n", $2; next }
	/^### / { wrap(); printf "  [ %s ]\n", $2; next }
	/^\* / { wrap(); entry = $0; next }
	/^  / { entry = entry " " $0 }
	END { sign() }' CHANGELOG.md | press usr/share/doc/weir/changelog.gz
for shell in bash:usr/share/bash-completion/completions/weir zsh:usr/share/zsh/vendor-completions/_weir fish:usr/share/fish/vendor_completions.d/weir.fish; do
	mkdir -p "$root/$(dirname "${shell#*:}")"
	"$out/weir" completion "${shell%%:*}" >"$root/${shell#*:}"
	chmod 644 "$root/${shell#*:}"
done

mkdir "$root/DEBIAN"
for script in postinst prerm postrm; do
	install -m 755 "packaging/deb/$script" "$root/DEBIAN/$script"
done
printf '%s\n' /etc/weir/weir.toml /etc/logrotate.d/weir >"$root/DEBIAN/conffiles"
size=$(du -sk --apparent-size "$root" | cut -f1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" -e "s/@MAINTAINER@/$maintainer/" \
	packaging/deb/control >"$root/DEBIAN/control"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort | xargs md5sum >DEBIAN/md5sums)
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

dpkg-deb --root-owner-group -Zgzip --build "$root" "$out/weir_${version}_$arch.deb"
