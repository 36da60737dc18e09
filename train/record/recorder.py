"""Watches the loop and writes down what the report is made from: tensors and losses, and the time of each step."""

import time
from typing import Protocol, Self

from torch import Tensor
from torch.profiler import profile, schedule

from byoc_vision.contract.job import STEPS
from train.record.callback import Callback
from train.record.smdebug_files import Step
from train.record.step_times import StepClock
from train.record.utilisation import Profiler


class TensorHook(Protocol):
    """What records tensors: this project's hook, or smdebug's under the service's configuration."""

    def begin(self, step: Step) -> bool:
        """Before the forward pass: return whether the step is recorded and so takes longer than others."""

    def forward(self, step: Step, loss: Tensor) -> None:
        """After the forward pass, with the mean loss of the batch."""

    def backward(self, step: Step) -> None:
        """After the backward pass of a step that is recorded."""

    def flush(self) -> None:
        """Write what was recorded since the last time."""

    def close(self) -> None:
        """Write what is left, and that it is all."""


class Recorder(Callback):
    """Passes the steps on to `hook` and times them for `profiler`.

    The profiler of torch traces `trace_steps` steps into `trace.json.gz` there, which ui.perfetto.dev opens.
    """

    def __init__(self, hook: TensorHook, profiler: Profiler, trace_steps: int) -> None:
        self._hook, self._profiler = hook, profiler
        self._clock = StepClock(profiler.folder / STEPS, profiler.device)
        self._trace = self._tracer(trace_steps) if trace_steps else None
        self._step: Step | None = None
        self._recorded = False

    def __enter__(self) -> Self:
        if self._trace:
            self._trace.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._trace:
            self._trace.stop()
        self._hook.close()
        self._clock.flush()

    def wait(self) -> None:
        self._clock.begin()

    def batch(self, step: Step) -> None:
        if self._step is None:
            self._profiler.note(first_step=time.time())
        self._step = step
        self._clock.mark()
        self._recorded = self._hook.begin(step)

    def forward(self, loss: Tensor) -> None:
        self._clock.mark()
        assert self._step
        self._hook.forward(self._step, loss)
        if self._step.mode == "eval":
            self._clock.end(self._step)

    def backward(self) -> None:
        self._clock.mark()
        if self._recorded:
            assert self._step
            self._hook.backward(self._step)

    def update(self) -> None:
        self._clock.mark()
        assert self._step
        if not self._recorded:  # It would be an outlier, for a reason that is not the job's.
            self._clock.end(self._step)
        if self._trace:
            self._trace.step()

    def flush(self) -> None:
        self._hook.flush()
        self._clock.flush()

    def _tracer(self, steps: int) -> profile:
        file = self._profiler.folder / "trace.json.gz"
        plan = schedule(wait=2, warmup=1, active=steps, repeat=1)  # The first steps are not like the others.
        return profile(schedule=plan, on_trace_ready=lambda done: done.export_chrome_trace(str(file)))
