#!/usr/bin/env bash
# Serves a trained model on http://127.0.0.1:8080 with plain docker run, as SageMaker starts an endpoint. Ctrl-C stops it.
#
# usage: local_test/serve_local.sh [MODEL_DIR | model.tar.gz]      (default: what train_local.sh left)
#
# environment: PORT (default: 8080)
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
here=$(cd "$(dirname "$0")" && pwd)
source "$here/container.sh"

[[ ${1:-} != -h && ${1:-} != --help ]] || { usage && exit; }
model=${1:-$here/out/train_local/model}
[[ -e $model ]] || fail "there is no $model; train one with local_test/train_local.sh, or name a model"

if [[ -f $model ]]; then
    unpacked=$(mktemp -d)
    trap 'rm -rf "$unpacked"' EXIT
    chmod 755 "$unpacked" # so that the server, too, need not be root to read it
    tar -xzf "$model" -C "$unpacked" || fail "$model is not a model.tar.gz"
    model=$unpacked
fi
image=byoc-vision-serve:latest
if [[ -d $model/cpu ]] && ! nvidia-smi >/dev/null 2>&1; then image=byoc-vision-serve-cpu:latest; fi
need_image "$image"
echo "serving on http://127.0.0.1:${PORT:-8080} (Ctrl-C stops it); ask it with local_test/predict.sh PICTURE"
status=0
run_container --publish "127.0.0.1:${PORT:-8080}:8080" --mount "$(mount "$(folder "$model")" /opt/ml/model readonly)" "$image" serve || status=$?
[[ $status != 125 ]] || fail "Docker did not start the container, for the reason above; PORT chooses another port"
exit "$status"
