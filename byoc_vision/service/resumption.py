"""What goes on after the machine, or all that ran on it, was interrupted."""

import threading
import traceback

from byoc_vision.local import models, packages, process, training, tuning
from byoc_vision.local.store import ServiceError, Store


def resume(store: Store) -> None:
    """Take up again the jobs whose processes have broken down, in the background."""
    threading.Thread(target=_look_at_all, args=(store,), daemon=True).start()


def _look_at_all(store: Store) -> None:
    for swept in (*process.KINDS, models.MODEL, models.CONFIG, packages.GROUP):
        store.sweep(swept)
    for kind in (tuning, training):  # first what begins its trials again itself
        for record in store.all(kind.KIND):
            try:
                kind.describe(record)
            except ServiceError:  # removed in between
                continue
            except Exception:
                traceback.print_exc()
