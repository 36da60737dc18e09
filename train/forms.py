"""The forms that a frozen backbone can be computed in: an engine and a number format. The fastest that is exact enough.

Which one that is differs by processor and by network, so it is tried on some of the pictures. On CPUs that is done in a
process of its own: a form may meet an instruction that the processor lacks.
"""

import importlib.util
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from byoc_vision.contract.errors import described
from classifier.preprocessing import Preprocessing
from train import memory
from train.backbone import Backbone
from train.stopping import leave_signals_to_parent

#: Runs a backbone: uint8 [N, 3, S, S], an array or a tensor -> features, float32 [N, ...].
Run = Callable[[Any], NDArray[np.float32]]

#: How much a form's features may differ from torch's in float32: the root mean square of the differences, as a share of
#: that of how the features differ from picture to picture. For a form in float32, and for one that rounds.
EXACT, ROUNDED = 1e-3, 0.1

#: How many times as fast as float32 a form that rounds must be.
WORTH = 1.25

#: Pictures that forms are tried on, how many of them in a round of timing, and rounds.
SAMPLE, TIMED, ROUNDS = 8, 4, 3

#: Pictures in a batch of OpenVINO's: with more of them what lies between two layers leaves the processor's caches.
BATCH = 4

#: The backbone's graph in a folder for graphs: float32 [N, 3, S, S] -> float32 [N, ...].
GRAPH = "backbone.xml"


class FormError(Exception):
    """A form does not work for this network on this machine."""


@dataclass(frozen=True)
class Form:
    """An `engine` ("torch" or "openvino") and a `precision` ("float32", "bfloat16" or "float16")."""

    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"

    @property
    def recipe(self) -> str:
        """What features depend on besides the backbone and the picture."""
        return f"{self} {version(self.engine)}"

    @property
    def tolerance(self) -> float:
        """How much its features may differ from torch's in float32."""
        return EXACT if self.precision == "float32" else ROUNDED


#: What the others are compared with.
_REFERENCE = Form("torch", "float32")


@dataclass(frozen=True)
class Trial:
    """What trying a form showed: the `difference` of its features (see `EXACT`), and its `speed` beside the last's."""

    difference: float
    speed: float


def candidates(device: torch.device, precision: str | None) -> list[Form]:
    """Return the forms there may be on `device`, only of that `precision` if one is named; the last works anywhere."""
    if device.type == "cpu":
        rounded, engines = "bfloat16", ["openvino"] if importlib.util.find_spec("openvino") else []
    else:
        rounded, engines = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16", []
        engines = ["torch"]
    forms = [Form(engine, kind) for kind in ([precision] if precision else [rounded, "float32"]) for engine in engines]
    last = Form("torch", precision or "float32")
    return [*(form for form in forms if form != last), last]


def fastest(trials: Mapping[Form, Trial]) -> Form:
    """Return the fastest form, of which the last is the one to compare with; others only where rounding is worth it."""
    *_, last = trials
    exact = max((form for form in trials if form.precision == last.precision), key=lambda form: trials[form].speed)
    worth = WORTH * trials[exact].speed
    return max(trials, key=lambda form: trials[form].speed if form == exact or trials[form].speed >= worth else 0)


def fit_memory(network: nn.Module, processes: int) -> bool:
    """Whether each of `processes` may have a copy of the network's weights, which torch's share with their parent."""
    weights: int = sum(tensor.nbytes for tensor in network.state_dict().values())
    return processes * weights < memory.available() / 2


def attempt(
    backbone: Backbone, forms: Sequence[Form], pixels: NDArray[np.uint8], graphs: Path, say: Callable[[str], None]
) -> dict[Form, Trial]:
    """Try `forms` on `pixels` (uint8 [N, 3, S, S]); return those that work, in order.

    The last is returned in any case. What is wrong with another is said. `graphs` is a folder for `runner`.
    """
    compare = _compared if backbone.device.type != "cpu" else _compared_apart
    left = list(forms)
    while True:
        try:
            trials, problems = compare(backbone, left, pixels, graphs)
        except _CrashError as crash:
            say(f"features: {crash.form} is not used: it ended its process ({crash})")
            if crash.form not in left[:-1]:
                return {forms[-1]: Trial(0, 1)}
            left.remove(crash.form)
            continue
        except FormError as error:  # not even the last works there; where it is to run it may say more
            say(f"features: forms cannot be tried: {error}")
            return {forms[-1]: Trial(0, 1)}
        for form, problem in problems.items():
            say(f"features: {form} is not used: {problem}")
        return trials


def runner(backbone: Backbone, form: Form, graphs: Path) -> Run:
    """Return what runs `backbone` in `form` in this process, with torch's number of threads there.

    The folder `graphs` keeps the network as OpenVINO reads it (`GRAPH`). Raises `FormError`, and what engines raise.
    """
    if form.engine == "torch":
        precision: torch.dtype = getattr(torch, form.precision)
        return lambda pixels: backbone.features(torch.as_tensor(pixels), precision)
    import openvino as ov  # only here: its threads do not outlive a fork

    if not (graphs / GRAPH).exists():
        _write_graph(backbone, graphs)
    wanted = ov.Type.bf16 if form.precision == "bfloat16" else ov.Type.f32
    options = {
        "INFERENCE_PRECISION_HINT": wanted,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # every process would pin itself to the same first cores
    }
    compiled = ov.Core().compile_model(_of_pixels(graphs / GRAPH, backbone.preprocessing), "CPU", options)
    if compiled.get_property("INFERENCE_PRECISION_HINT") != wanted:
        raise FormError(f"this processor has no {form.precision}")

    def run(pixels: Any) -> NDArray[np.float32]:
        features = np.empty((len(pixels), *backbone.shape), np.float32)
        for begin in range(0, len(pixels), BATCH):
            features[begin : begin + BATCH] = compiled(pixels[begin : begin + BATCH])[0]
        return features

    return run


def _of_pixels(file: Path, preprocessing: Preprocessing) -> Any:
    """Return the graph in `file` for `BATCH` pictures as they are decoded, uint8 [4, 3, S, S]."""
    import openvino as ov
    from openvino.preprocess import PrePostProcessor

    graph = ov.Core().read_model(file)
    graph.reshape([BATCH, 3, preprocessing.crop_size, preprocessing.crop_size])
    processor = PrePostProcessor(graph)
    processor.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NCHW"))
    mean, std = ([255 * value for value in values] for values in (preprocessing.mean, preprocessing.std))
    processor.input().preprocess().convert_element_type(ov.Type.f32).mean(mean).scale(std)
    return processor.build()


def _write_graph(backbone: Backbone, folder: Path) -> None:
    import openvino as ov

    from train.graphs import converted

    side = backbone.preprocessing.crop_size
    graph = converted(backbone.network, (3, side, side))
    # Whole or not at all: other processes look for it, and this one may die.
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        ov.save_model(graph, Path(partial, GRAPH), compress_to_fp16=False)
        for file in sorted(Path(partial).iterdir()):  # .bin before .xml
            file.rename(folder / file.name)


Compared = tuple[dict[Form, Trial], dict[Form, str]]


def _compared(
    backbone: Backbone,
    forms: Sequence[Form],
    pixels: NDArray[np.uint8],
    graphs: Path,
    begin: Callable[[Form], None] = lambda form: None,
) -> Compared:
    """Return the trials of the forms that work, and what is wrong with the others; `begin` is told each that is run."""
    runs: dict[Form, Run] = {}
    differences: dict[Form, float] = {}
    problems: dict[Form, str] = {}
    exact = backbone.features(torch.from_numpy(pixels))
    for form in forms:
        begin(form)
        try:
            run = runner(backbone, form, graphs)
            differences[form] = 0.0 if form == _REFERENCE else _difference(run(pixels), exact)
            if not differences[form] <= form.tolerance and form != forms[-1]:
                share = f"{differences[form]:.3g} of their spread, more than {form.tolerance:g}"
                raise FormError(f"its features differ from torch's in float32 by {share}")
        # Compilers meet a network they do not know with every exception there is.
        except Exception as error:
            if form == forms[-1]:
                raise
            problems[form] = str(error) if isinstance(error, FormError) else described(error)
        else:
            runs[form] = run
    # The processor's time, of which others take nothing away; on a GPU it is the time until the features are here.
    clock = time.process_time if backbone.device.type == "cpu" else time.perf_counter
    seconds: dict[Form, list[float]] = {form: [] for form in runs}
    for _ in range(ROUNDS):  # in turns: clock speeds change
        for form, run in runs.items():
            begin(form)
            begun = clock()
            run(pixels[:TIMED])
            seconds[form].append(clock() - begun)
    last = seconds[forms[-1]]
    speeds = {form: median(a / max(b, 1e-9) for a, b in zip(last, seconds[form], strict=True)) for form in runs}
    return {form: Trial(differences[form], speeds[form]) for form in runs}, problems


def _difference(features: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    """Return the root mean square of the differences as a share of that of the features' spread; NaN of no numbers."""
    with np.errstate(all="ignore"):
        spread = np.sqrt(np.mean((exact - exact.mean(axis=0)) ** 2))
        return float(np.sqrt(np.mean((features - exact) ** 2)) / spread)


class _CrashError(Exception):
    """The process in which forms were compared was ended by a signal, while it ran `form`."""

    def __init__(self, form: Form | None, status: int | None) -> None:
        name = signal.Signals(-status).name if status and status < 0 else f"exit status {status}"
        super().__init__(name)
        self.form = form


def _compared_apart(backbone: Backbone, forms: Sequence[Form], pixels: NDArray[np.uint8], graphs: Path) -> Compared:
    """Compare in a process of its own, on one core, as the processes that extract will run; raises `_CrashError`."""
    receiver, sender = get_context("fork").Pipe(duplex=False)
    compare = partial(_compared, backbone, forms, pixels, graphs)
    process = get_context("fork").Process(target=_tell, args=(sender, compare), daemon=True)
    process.start()
    sender.close()
    running = None
    try:
        while True:
            message = receiver.recv()
            if isinstance(message, tuple):
                return message
            if isinstance(message, Exception):
                raise message
            running = message
    except EOFError:
        process.join()
        raise _CrashError(running, process.exitcode) from None
    finally:
        receiver.close()
        process.join()


def _tell(sender: Connection, compare: Callable[..., Compared]) -> None:
    leave_signals_to_parent(0)
    torch.set_num_threads(1)
    try:
        sender.send(compare(begin=sender.send))
    except Exception as error:
        sender.send(FormError(described(error)))
