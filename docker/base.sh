#!/usr/bin/env bash
# Prints the name of the image the others are built on: $BASE_IMAGE, else debian:bookworm-slim, else (where that cannot be
# pulled) its like, made from Debian's packages with debootstrap.
#
# usage: docker/base.sh DOCKER      DOCKER is the docker client to use
set -euo pipefail

docker=$1
published=debian:bookworm-slim
own=byoc-vision-base:bookworm-slim
release=bookworm

have() { "$docker" image inspect "$1" >/dev/null 2>&1; }

pull() { # bounded: a registry behind a silent firewall must not hold the build up (macOS has no timeout command)
    "$docker" pull --quiet --platform linux/amd64 "$1" >/dev/null 2>&1 &
    local pid=$!
    for _ in {1..60}; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 1
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid"
}

if [[ -n ${BASE_IMAGE:-} ]]; then
    echo "$BASE_IMAGE"
    exit
fi
for image in "$published" "$own"; do
    if have "$image"; then
        echo "$image"
        exit
    fi
done
if pull "$published"; then
    echo "$published"
    exit
fi
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "base.sh: $published cannot be pulled; set BASE_IMAGE to a Debian 12 image you can reach," \
        "or run this as root on Debian or Ubuntu, where one is made with debootstrap." >&2
    exit 1
fi

echo "base.sh: $published cannot be pulled; making $own with debootstrap" >&2
if ! command -v debootstrap >/dev/null || [[ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]]; then
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
        debootstrap debian-archive-keyring >/dev/null
fi

host_mirror() { # the first mirror this host itself uses for what carries this label, if it uses one
    local mirrors
    mirrors=$(apt-get indextargets --format "\$(REPO_URI)" 'Created-By: Packages' 'Component: main' "Label: $1")
    mirrors=${mirrors%%$'\n'*}
    echo "${mirrors%/}"
}

scratch=$(mktemp -d)
trap 'rm -rf --one-file-system "$scratch"' EXIT
root=$scratch/root

quietly() { # its output is shown when it fails
    "$@" >"$scratch/log" 2>&1 && return
    tail -n 20 "$scratch/log" >&2
    echo "base.sh: '$1' failed; its last lines are above." >&2
    exit 1
}

mirror=$(host_mirror Debian)
# Without a mirror to name, debootstrap takes its own default.
quietly debootstrap --variant=minbase "$release" "$root" ${mirror:+"$mirror"}

mirror=$(awk '$1 == "deb" { sub("/$", "", $2); print $2; exit }' "$root/etc/apt/sources.list")
security=$(host_mirror Debian-Security)
cat >"$root/etc/apt/sources.list" <<EOF
deb $mirror $release main
deb $mirror $release-updates main
deb ${security:-$mirror-security} $release-security main
EOF

# What the published slim image leaves out, of what is there now and of what is installed later.
for folder in doc groff info linda lintian locale man; do
    echo "path-exclude /usr/share/$folder/*"
    find "$root/usr/share/$folder" ! -type d ! -name copyright -delete 2>/dev/null || true
done >"$root/etc/dpkg/dpkg.cfg.d/slim"
echo 'path-include /usr/share/doc/*/copyright' >>"$root/etc/dpkg/dpkg.cfg.d/slim"

export DEBIAN_FRONTEND=noninteractive
quietly chroot "$root" apt-get --yes update
quietly chroot "$root" apt-get --yes upgrade
find "$root/var/lib/apt/lists" "$root/var/cache/apt" "$root/var/log" -type f -delete
rm -rf "$root/etc/resolv.conf" "$root/etc/hostname" "$root"/run/*

tar --directory "$root" --numeric-owner --create --exclude './dev/*' --exclude './proc/*' --exclude './sys/*' . |
    "$docker" import --platform linux/amd64 --change 'CMD ["bash"]' - "$own" >/dev/null
echo "$own"
