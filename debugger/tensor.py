"""A tensor of a recording that is complete.

smdebug's own has objects for each step and worker; to make these for the losses of 100,000 steps, and to walk them for
every rule, takes far longer than to read the losses. Here a tensor has a table for itself and one for each reduction.
"""

from collections import defaultdict
from typing import Any

from numpy.typing import NDArray
from smdebug.core.locations import TensorLocation
from smdebug.core.modes import ModeKeys
from smdebug.core.reductions import get_numpy_reduction
from smdebug.core.tensor import Step, Tensor
from smdebug.exceptions import TensorUnavailableForStep

#: A reduction's name and whether it is of the absolute values; None is the tensor itself.
Reduction = tuple[str, bool] | None

#: Global step -> the value saved there, or where it is.
Table = dict[int, NDArray[Any] | TensorLocation]


class FinishedTensor(Tensor):  # type: ignore[misc]
    """smdebug's tensor with its values in `tables`, by worker and reduction."""

    def __init__(self, name: str, trial: Any) -> None:
        super().__init__(name, trial, cache=False)
        self.tables: dict[str, dict[Reduction, Table]] = defaultdict(lambda: defaultdict(dict))

    def value(self, step_num: int, mode: ModeKeys = ModeKeys.GLOBAL, worker: str | None = None) -> Any:
        """Return what was saved at a step, of the first worker that did or of `worker`.

        Raises `TensorUnavailableForStep`.
        """
        value = self._find(None, step_num, mode, worker)
        if value is None:
            raise TensorUnavailableForStep(self.name, step_num, mode)
        return value

    def reduction_value(
        self,
        step_num: int,
        reduction_name: str,
        mode: ModeKeys = ModeKeys.GLOBAL,
        worker: str | None = None,
        abs: bool = False,
    ) -> Any:
        """Return a reduction at a step, recorded or computed. Raises `TensorUnavailableForStep`."""
        value = self._find((reduction_name, abs), step_num, mode, worker)
        if value is None:
            return get_numpy_reduction(reduction_name, self.value(step_num, mode, worker), abs)
        return value

    def _find(self, reduction: Reduction, number: int, mode: ModeKeys, worker: str | None) -> Any:
        step = number if mode is ModeKeys.GLOBAL else self.trial.global_step(mode, number)
        for name in [worker] if worker else sorted(self.tables):
            table = self.tables[name].get(reduction)
            value = table.get(step) if table else None
            if value is not None:
                return self.trial.index_reader.fetch_tensor_value(value) if type(value) is TensorLocation else value
        return None

    # What smdebug's other methods are made from.

    def _all_steps(self, mode: ModeKeys = ModeKeys.GLOBAL) -> list[int]:
        steps = {step for tables in self.tables.values() for table in tables.values() for step in table}
        if mode is ModeKeys.GLOBAL:
            return sorted(steps)
        return sorted(number for its, number in map(self.trial.mode_modestep, steps) if its is mode)

    def _get_step_dict(self, step_num: int, mode: ModeKeys) -> dict[str, Step] | None:
        found = {}
        for worker, tables in sorted(self.tables.items()):
            values = {reduction: self._find(reduction, step_num, mode, worker) for reduction in tables}
            if any(value is not None for value in values.values()):
                found[worker] = Step(step_num, values.pop(None, None))
                found[worker]._reduction_values = {key: value for key, value in values.items() if value is not None}
        return found or None
