"""The trial on one machine: `run.sh` does all of it; `train_local.sh`, `serve_local.sh`, `predict.sh` a step each."""
