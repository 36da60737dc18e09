#!/usr/bin/env bash
# The main job, all of it: sets this machine up, builds the images, trains in SageMaker's local mode, deploys the model
# there, asks the endpoint with curl, and takes everything down again. OUT/summary.json has the figures.
#
# usage: local_test/run.sh [--data DIR] [--weights FILE] [--out DIR]
#
#   --data DIR      labelled pictures, one folder for each class, perhaps in splits (default: a small set it draws)
#   --weights FILE  pretrained weights, which say the architecture, too (default: torchvision's own of a resnet50, which
#                   the container downloads; the drawn set needs none)
#   --out DIR       where the results go (default: local_test/out/run)
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
    exit
fi
root=$(cd "$(dirname "$0")/.." && pwd)

"$root/local_test/setup.sh"
# The images are linux/amd64 on every machine.
DOCKER_DEFAULT_PLATFORM=linux/amd64 PYTHONPATH=$root exec "$root/.venv/bin/python" -m local_test.main_job "$@"
