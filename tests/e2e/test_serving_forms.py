"""The numeric form on processors of all kinds, after a form has ended its process, and at the next start."""

from pathlib import Path

import pytest

from tests.e2e.serving import LEAN, SERVE, Container, Samples, container, with_code

#: Claims that the processor has all instructions, and dies in bfloat16 as one does that lacks them.
ILLEGAL = """
import os, signal
from serve import openvino_backend, processor
from serve.inference import model_fn

processor.instructions = lambda: {"avx512_vnni", "avx512_bf16"}
compiled = openvino_backend._compiled

def dying(file, precision, side):
    if precision == "bf16":
        os.kill(os.getpid(), signal.SIGILL)
    return compiled(file, precision, side)

openvino_backend._compiled = dying
"""


def check_answers(endpoint: Container, samples: Samples) -> None:
    """The endpoint answers with the right classes, but where two are so close that rounding may decide."""
    endpoint.wait_ready()
    for name, expected in samples.expected.items():
        first, second = sorted(expected, reverse=True)[:2]
        (prediction,) = endpoint.invoke(samples.picture(name)).json["predictions"]
        assert prediction["predicted_class"] == expected.index(first) or first - second < 0.1, name


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_form_that_ends_its_process_is_left_out_and_told(samples: Samples, tmp_path: Path, workers: str) -> None:
    model = with_code(samples, tmp_path, ILLEGAL)
    options = ("--env", f"SAGEMAKER_MODEL_SERVER_WORKERS={workers}")
    with container(model, *options, precision="fastest") as endpoint:
        check_answers(endpoint, samples)
        chosen = [line for line in endpoint.logs().splitlines() if line.startswith("model model: on cpu, chose ")]
        assert len(chosen) == 1 and "; bfloat16 ended the process that tried it" in chosen[0]


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (LEAN, ("--env", "ONEDNN_MAX_CPU_ISA=AVX2")),
        (LEAN, ("--env", "ONEDNN_MAX_CPU_ISA=SSE41", "--cpus", "0.3")),
        (SERVE, ("--env", "ONEDNN_MAX_CPU_ISA=SSE41", "--env", "ATEN_CPU_CAPABILITY=default")),
    ],
    ids=["without AVX-512", "without AVX2, with a third of a core", "without AVX2"],
)
def test_a_lesser_processor_gives_the_same_answers(samples: Samples, image: str, options: tuple[str, ...]) -> None:
    with container(samples.model, *options, image=image, precision="fastest") as endpoint:
        check_answers(endpoint, samples)


def test_a_container_that_is_started_again_measures_nothing(samples: Samples, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    options = ("--volume", f"{tmp_path}:/forms", "--env", "BYOC_FORMS=/forms")
    with container(samples.model, *options, precision="fastest") as endpoint:
        endpoint.wait_ready()
        assert " ms a picture" in endpoint.logs()
    (record,) = tmp_path.iterdir()
    with container(samples.model, *options, precision="fastest") as endpoint:
        check_answers(endpoint, samples)
        assert "an earlier start on this processor" in endpoint.logs() and " ms a picture" not in endpoint.logs()
    content = record.read_bytes()
    (tmp_path / "read-only").mkdir()
    (tmp_path / "read-only" / record.name).write_bytes(content[:-10])
    options = ("--volume", f"{tmp_path / 'read-only'}:/forms:ro", "--env", "BYOC_FORMS=/forms")
    with container(samples.model, *options, precision="fastest") as endpoint:
        check_answers(endpoint, samples)
        logs = endpoint.logs()
    assert " ms a picture" in logs
    assert f"{record.name} cannot be used (" in logs and "is not kept for the next start (" in logs
