#!/usr/bin/env bash
# Builds the images for linux/amd64, tagged "latest" and by commit.
#
# usage: ./build.sh [train|serve|serve-cpu|all]      (default: all)
#        ./build.sh today                            what users deploy today, to compare with (bench/)
#
# environment, all optional:
#   BASE_IMAGE      a Debian 12 image to build on instead of debian:bookworm-slim
#   PIP_CONFIG_FILE, PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, or pip's own configuration file: package mirrors
#   SSL_CERT_FILE, PIP_CERT, REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE: a CA bundle for them; and the usual proxy variables
# Mirrors and CA are passed as build secrets: neither the images nor their history hold them.
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
cd "$(dirname "$0")"

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' build.sh; }

case ${1:-all} in
all) targets=(train serve serve-cpu) ;;
train | serve | serve-cpu | today) targets=("$1") ;;
-h | --help) usage; exit ;;
*)
    echo "build.sh: unknown target '$1'" >&2
    usage >&2
    exit 2
    ;;
esac

mkdir -p .byoc # what is done from within the checkout is remembered there
docker=$(byoc_vision/local/engine.sh)
base=$(docker/base.sh "$docker")
options=(--file docker/Dockerfile --platform linux/amd64 --build-arg "BASE_IMAGE=$base")
if "$docker" buildx version >/dev/null 2>&1; then
    options+=(--load --provenance=false) # SageMaker takes no image index, which provenance would make
fi

label=org.opencontainers.image
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' byoc_vision/__init__.py)
options+=(--label "$label.licenses=Apache-2.0" --label "$label.description=Image classification on SageMaker"
    --label "$label.version=$version")
if revision=$(git rev-parse --verify --short HEAD 2>/dev/null); then
    [[ -z $(git status --porcelain) ]] || revision+=-dirty
    options+=(--label "$label.revision=$revision" --label "$label.created=$(git show --no-patch --format=%cI HEAD)")
fi

for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [[ -z ${!name:-} ]] || options+=(--build-arg "$name")
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
stop() { # a build whose script has ended would go on, and tag images
    # shellcheck disable=SC2046 # numbers
    kill $(jobs -p) 2>/dev/null || true
    wait
    echo "build.sh: interrupted" >&2
    exit "$1"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP
if [[ -n ${PIP_INDEX_URL:-}${PIP_EXTRA_INDEX_URL:-} ]]; then
    {
        echo "[global]"
        [[ -z ${PIP_INDEX_URL:-} ]] || echo "index-url = $PIP_INDEX_URL"
        [[ -z ${PIP_EXTRA_INDEX_URL:-} ]] || echo "extra-index-url = $PIP_EXTRA_INDEX_URL"
    } >"$scratch/pip.conf"
fi
index='' cas=()
for file in "$scratch/pip.conf" "${PIP_CONFIG_FILE:-}" "${XDG_CONFIG_HOME:-${HOME:-}/.config}/pip/pip.conf" \
    "${HOME:-}/.pip/pip.conf" "${HOME:-}/Library/Application Support/pip/pip.conf" /etc/pip.conf; do
    [[ -f $file ]] || continue
    cas+=("$(sed -n 's/^ *cert *[=:] *//p' "$file")")
    if [[ -z $index ]] && grep -q index-url "$file"; then
        index=$file
        options+=(--secret "id=pip_conf,src=$file")
    fi
done
for file in "${SSL_CERT_FILE:-}" "${PIP_CERT:-}" "${REQUESTS_CA_BUNDLE:-}" "${CURL_CA_BUNDLE:-}" ${cas[@]+"${cas[@]}"}; do
    if [[ -f $file ]]; then
        options+=(--secret "id=ca,src=$file")
        break
    fi
done

build() { # on a terminal BuildKit draws its progress; elsewhere its long log is cut down to the steps that took time
    # In the background, for a shell hears no signal while it has a command in the foreground.
    if [[ -t 1 ]]; then
        DOCKER_BUILDKIT=1 "$docker" build "$@" . &
        wait $!
        return
    fi
    # shellcheck disable=SC2016 # the dollars are awk's
    DOCKER_BUILDKIT=1 "$docker" build --progress plain "$@" . 2>&1 | tee "$scratch/log" | awk '
        /^#[0-9]+ \[/ { step = $1; sub(/^#[0-9]+ /, ""); name[step] = substr($0, 1, 70) }
        /^#[0-9]+ DONE/ && name[$1] && $3 >= 1 { printf "%8s  %s\n", $3, name[$1]; fflush() }' &
    wait $! || { tail -n 30 "$scratch/log" && return 1; }
}

report=
for target in "${targets[@]}"; do
    image=byoc-vision-$target
    stage=(--target "$target")
    [[ $target != serve-cpu ]] || stage=(--target serve --build-arg RUNTIME=openvino)
    tags=(--tag "$image:latest" ${revision:+--tag "$image:$revision"})
    echo "building $image"
    SECONDS=0
    if ! build "${options[@]}" --label "$label.title=$image" --build-arg "IMAGE=$image" "${stage[@]}" "${tags[@]}"; then
        echo "build.sh: $image was not built; the reason is in the lines above." >&2
        exit 1
    fi
    bytes=$("$docker" image inspect --format '{{.Size}}' "$image:latest")
    report+=$(awk -v image="$image:latest" -v tag="${revision:-no commit}" -v bytes="$bytes" -v seconds="$SECONDS" \
        'BEGIN { printf "%-28s %-16s %5.2f GB %5d s", image, tag, bytes / 1e9, seconds }')$'\n'
done
echo
printf '%s' "$report"
