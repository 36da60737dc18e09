#!/usr/bin/env bash
# Pushes the images that build.sh made to your account's registry (ECR), tagged "latest" and by commit, and records their
# URIs with digests in .byoc/images.json, where the launchers find them. Repositories that are missing are created. Layers
# that the registry holds already are not sent again.
#
# usage: ./push.sh [train|serve|serve-cpu|all]      (default: all)
#
# environment: AWS credentials and region as everywhere (AWS_PROFILE, AWS_REGION, ...)
#   PYTHON       a Python that has the packages of requirements.txt (default: .venv's, else python3)
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
cd "$(dirname "$0")"

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' push.sh; }

fail() {
    echo "push.sh: $*" >&2
    exit 1
}

case ${1:-all} in
all) images=(byoc-vision-train byoc-vision-serve byoc-vision-serve-cpu) ;;
train | serve | serve-cpu) images=("byoc-vision-$1") ;;
-h | --help) usage; exit ;;
*)
    echo "push.sh: unknown target '$1'" >&2
    usage >&2
    exit 2
    ;;
esac

python=${PYTHON:-python3}
if [[ -z ${PYTHON:-} && -x .venv/bin/python ]]; then python=.venv/bin/python; fi
"$python" -c 'import boto3' 2>/dev/null || fail "$python has no boto3; run local_test/setup.sh, or set PYTHON, and try again."
export BYOC_HOME=${BYOC_HOME:-$PWD/.byoc} # where the launchers look for the record, from within the checkout
docker=$(byoc_vision/local/engine.sh)
for image in "${images[@]}"; do
    "$docker" image inspect "$image:latest" >/dev/null 2>&1 || fail "there is no image $image:latest; run ./build.sh first."
done

# The login goes into a folder of its own that is removed at the end: your docker configuration and key store never see
# it. The engine's address has to be kept, since the configuration may name it.
: "${DOCKER_HOST:=$("$docker" context inspect --format '{{.Endpoints.docker.Host}}')}"
DOCKER_CONFIG=$(mktemp -d)
export DOCKER_HOST DOCKER_CONFIG
names=() # of the registry, which this machine is not left with
cleanup() {
    [[ ${#names[@]} == 0 ]] || "$docker" image rm --no-prune "${names[@]}" >/dev/null
    rm -rf "$DOCKER_CONFIG"
}
trap cleanup EXIT

registry=$("$python" -m byoc_vision images registry)
"$python" -m byoc_vision images password | "$docker" login --username AWS --password-stdin "$registry" >"$DOCKER_CONFIG/log" 2>&1 ||
    fail "the registry $registry refused the login ($(tail -n 1 "$DOCKER_CONFIG/log"))."

pushed=()
for image in "${images[@]}"; do
    repository=$("$python" -m byoc_vision images repository "$image")
    revision=$("$docker" image inspect --format '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$image:latest")
    for tag in $revision latest; do # the commit's first: a repository of immutable tags takes "latest" only once
        "$docker" tag "$image:latest" "$repository:$tag"
        names+=("$repository:$tag")
        if ! "$docker" push "$repository:$tag" 2>&1 | tee "$DOCKER_CONFIG/log"; then
            grep -qi 'immutable' "$DOCKER_CONFIG/log" ||
                fail "$repository:$tag was not pushed; the reason is in the lines above."
            [[ $tag == latest && -n $revision ]] ||
                fail "$repository has immutable tags, and $tag is another image there; commit and build for a new tag."
            echo "push.sh: $repository has immutable tags; latest stays what it was, and $revision was pushed." >&2
        fi
    done
    uri=$("$docker" image inspect --format '{{join .RepoDigests "\n"}}' "$image:latest" | grep -F "$repository@" | tail -n 1)
    pushed+=("$image=$uri")
done
"$python" -m byoc_vision images record "${pushed[@]}"
printf '%s\n' "${pushed[@]#*=}"
