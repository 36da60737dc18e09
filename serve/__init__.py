"""Answer SageMaker's `/ping` and `/invocations` with a trained classifier.

`python -m serve` is the container's PID 1. It supervises two programs: nginx, the only public listener, and
multi-model-server, which runs the Python workers and is reachable through a unix socket only.

    client ── TCP ── nginx ─┬─ /invocations ── mms.sock ── multi-model-server ── workers (handler, inference, backend)
                            └─ /ping, /models ── control.sock ── supervisor (control, model_server)
"""
