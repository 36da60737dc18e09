#!/usr/bin/env bash
# Asks the endpoint that serve_local.sh runs about pictures, one line of JSON for each.
#
# usage: local_test/predict.sh [PICTURE ...]      (default: one drawn test picture of each class)
#
# environment: ENDPOINT (default: http://127.0.0.1:8080)
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
here=$(cd "$(dirname "$0")" && pwd)
endpoint=${ENDPOINT:-http://127.0.0.1:8080}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
    exit
fi
[[ $# -gt 0 ]] || set -- "$here"/out/train_local/pictures/test/*/*_00.jpg
status=0
for picture in "$@"; do
    if [[ -d $picture ]]; then
        echo "predict.sh: $picture is a folder; name the pictures in it" >&2
        status=1
        continue
    elif [[ ! -f $picture ]]; then
        echo "predict.sh: there is no picture $picture; name one" >&2
        status=1
        continue
    fi
    # application/x-image: the endpoint finds out whether it is JPEG, PNG or WebP.
    answer=$(curl --noproxy 'localhost,127.0.0.1,0.0.0.0,::1,[::1]' --silent --show-error --fail-with-body --header 'Content-Type: application/x-image' \
        --data-binary "@$picture" "$endpoint/invocations") || status=1
    [[ -z $answer ]] || printf '%s\n' "$answer"
done
exit "$status"
