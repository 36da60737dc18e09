#!/usr/bin/env bash
# The main job, all of it: sets this machine up, builds the images, trains in SageMaker's local mode, deploys the model
# there, asks the endpoint with curl, and takes everything down again. OUT/summary.json has the figures.
#
# usage: local_test/run.sh [--data DIR] [--weights FILE] [--out DIR]      (--help says more)
set -euo pipefail
unset CDPATH # with it, cd goes elsewhere and prints
root=$(cd "$(dirname "$0")/.." && pwd)

"$root/local_test/setup.sh"
# The images are linux/amd64 on every machine.
DOCKER_DEFAULT_PLATFORM=linux/amd64 PYTHONPATH=$root exec "$root/.venv/bin/python" -m local_test.main_job "$@"
