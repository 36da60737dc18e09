#!/usr/bin/env bash
# Sets everything up and tests it: unit (the sources' form, and the code of each image inside that image), cloud (the
# launchers against a fake AWS) and e2e (real containers). The last line is "N passed, N failed, N skipped".
#
# usage: tests/run.sh [unit | cloud | e2e]      (default: all three)
#
# environment: BYOC_TEST_DATA, the folder with data/ and weights/ of the tests on real photographs (default: ../shared
# beside the checkout; where there is none, these tests are skipped)
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
unset PYTHONDONTWRITEBYTECODE # with it, each of some thousand processes compiles anew what it imports
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' tests/run.sh; }

case ${1:-all} in
all) parts="unit cloud e2e" ;;
unit | cloud | e2e) parts=$1 ;;
-h | --help) usage; exit ;;
*)
    echo "tests/run.sh: unknown part '$1'" >&2
    usage >&2
    exit 2
    ;;
esac

python=.venv/bin/python
tools=.venv/image-tools
container=byoc-vision-tests-$$
results=$(mktemp -d)
lanes=
stop() { # also after Ctrl-C, which reaches no lane: the lanes, and the containers that they run
    for lane in $lanes; do
        kill "$lane" && kill -INT -- "-$lane"
    done
    wait
    docker ps --all --quiet --filter "name=$container" | xargs -r docker rm --force --volumes
    rm -rf "$results"
}
trap 'stop >/dev/null 2>&1' EXIT
export DOCKER_DEFAULT_PLATFORM=linux/amd64 PATH=$PWD/.venv/bin:$PATH

exec 3>&1
run() { # NAME COMMAND...: run one of the checks, note how it ended, and go on
    local status=0 begun=$SECONDS
    printf '\n== %s\n' "$1"
    "${@:2}" || status=$?
    echo "$status $1" >>"$results/checks"
    printf -- '-- %s: %s, %d s\n' "$1" "$([[ $status == 0 ]] && echo passed || echo FAILED)" $((SECONDS - begun)) >&3
}

lane() { # NAME COMMAND...: run it beside the other lanes, as a process group; what it prints is shown at the end
    set -m
    "${@:2}" >"$results/$1.log" 2>&1 </dev/null &
    set +m
    lanes+=" $!"
}

test_here() { # NAME FILE_OR_OPTION...
    run "$1" "$python" -m pytest --junit-xml="$results/$1.xml" "${@:2}"
}

# A file of tests stays in one process, for its tests share what took long to make.
parallel=(--numprocesses 2 --dist loadfile)

inside=(--volume "$PWD:/checkout:ro" --volume "$PWD/$tools:/opt/tools:ro" --env PYTHONPATH=/opt/program:/opt/tools:/checkout)
if data=$(realpath --canonicalize-existing "${BYOC_TEST_DATA:-../shared}" 2>/dev/null); then
    inside+=(--volume "$data:/test-data:ro" --env BYOC_TEST_DATA=/test-data)
fi

pytest_inside() { # NAME IMAGE FOLDER...: tests the program in the image. docker cp makes the report the caller's own
    local status=0
    # One thread: the tests' networks are so small that threads cost more than they give.
    docker run --name "$container-$1" "${inside[@]}" --env OMP_NUM_THREADS=1 "byoc-vision-$2:latest" \
        python -m pytest --config-file=/checkout/pyproject.toml --rootdir=/checkout -p no:cacheprovider \
        "${parallel[@]}" --junit-xml=/tmp/report.xml "${@:3}" || status=$?
    docker cp "$container-$1:/tmp/report.xml" "$results/$1.xml" >/dev/null || true
    docker rm --volumes "$container-$1" >/dev/null
    return "$status"
}

mypy_inside() { # IMAGE PACKAGE...: where torch and the toolkits are, so that their types count; torch is read once
    mkdir -p .venv/mypy
    docker run --rm --user "$(id -u):$(id -g)" "${inside[@]}" --workdir /checkout --volume "$PWD/.venv/mypy:/cache" \
        "byoc-vision-$1:latest" python -m mypy --cache-dir /cache "${@:2}"
}

all_code() { # what computes all the time
    run unit-train pytest_inside unit-train train /checkout/tests/unit/classifier /checkout/tests/unit/train \
        /checkout/tests/unit/debugger
    # The classifier is tested above: both images have the same layers of what it is made of.
    run unit-serve pytest_inside unit-serve serve /checkout/tests/unit/serve
    run unit-serve-cpu pytest_inside unit-serve-cpu serve-cpu /checkout/tests/unit/serve/test_openvino_backend.py
    test_here unit-host "${parallel[@]}" tests/unit/{contract,local_test,launch_local,bench}
    run ruff ruff check
    run format ruff format --check
    run shellcheck shellcheck ./*.sh ./*/*.sh ./*/*/*.sh byoc_vision/cli/*.bash .ci/run docker/{serve,train}{,_elsewhere}
    run types-host mypy
    run types-train mypy_inside train classifier train bench docker
    run types-serve mypy_inside serve serve
}

all_jobs() { # training on this machine: in SageMaker's local mode, then in the local engine
    test_here e2e-main "$main"
    test_here e2e-jobs "${parallel[@]}" tests/e2e "${containers[@]/#/--ignore=}" "--ignore=$main"
}

all_clients() { # what waits for answers: of serving containers, then of the AWS and the engine of the tests' own
    if [[ $parts == *e2e* ]]; then
        test_here e2e-containers "${parallel[@]}" "${containers[@]}"
    fi
    if [[ $parts == *cloud* ]]; then
        test_here cloud "${parallel[@]}" tests/cloud
    fi
}

printf '== set up\n'
local_test/setup.sh tests/requirements.txt
if ! cmp -s tests/requirements.txt "$tools/requirements.txt"; then
    grep -E '^(mypy|pytest|pytest-xdist)=' tests/requirements.txt >"$results/tools.txt"
    docker/install.sh uv pip install --quiet --link-mode hardlink --python "$python" --target "$tools" \
        --python-version 3.11 --python-platform x86_64-manylinux_2_28 --only-binary :all: \
        --requirement "$results/tools.txt"
    cp tests/requirements.txt "$tools/"
fi
if ! cmp -s tests/clients.txt .venv/clients/clients.txt; then
    uv venv --quiet --clear --python "$python" .venv/clients
    docker/install.sh uv pip install --quiet --link-mode hardlink --python .venv/clients/bin/python \
        --requirement tests/clients.txt
    cp tests/clients.txt .venv/clients/
fi
printf -- '-- set up: %d s\n' "$SECONDS"
if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null && ! command -v chromedriver >/dev/null; then
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes chromium-driver; } >/dev/null
fi
run build ./build.sh

# Containers leave the cores idle while they start, wait and end; what only computes fills the gaps.
echo "-- all tests side by side; what they print comes at the end"
containers=(tests/e2e/test_serving*.py tests/e2e/test_{hostile,local_scripts,report,supply_chain}.py)
main=tests/e2e/test_main_job.py
[[ $parts != *unit* ]] || lane code all_code
[[ $parts != *e2e* ]] || lane jobs all_jobs
lane clients all_clients
wait
cat "$results"/*.log

echo
"$python" tests/summary.py "$results"
