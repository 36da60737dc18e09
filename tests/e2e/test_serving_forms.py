"""The numeric form on processors of all kinds, after a form has ended its process, and at the next start."""

import re
from pathlib import Path

import pytest

from tests.e2e.serving import LEAN, SERVE, Container, Hammer, Samples, container, docker

#: Makes a backend of a processor that has all instructions, as it says, and computes bfloat16 in another way.
OTHERWISE = """

processor.instructions = lambda: {"avx512_vnni", "avx512_bf16"}
_plain = _compiled

def _compiled(file, precision, side):
    run = _plain(file, "f32", side)
    logits = run(np.zeros((1, 3, side, side), np.float32))
    return (OTHER) if precision == "bf16" else run
"""

#: Such ways, each with what is told of it; those that answer take no time, and would be chosen.
WRONG = {
    "illegal instruction": ("os.kill(os.getpid(), 4)", "; bfloat16 ended the process that tried it"),
    "NaN": ("lambda inputs: np.repeat(logits * np.nan, len(inputs), 0)", "bfloat16 would take .*, but only 0 of "),
    "one answer": ("lambda inputs: np.repeat(logits, len(inputs), 0)", r"bfloat16 would take .*, but only \d+ of "),
}

#: A way that never comes to an end.
ENDLESS = "__import__('signal').pause()"


def otherwise(folder: Path, other: str) -> tuple[str, ...]:
    """The options of a container whose processor computes bfloat16 in that other way."""
    backend = folder / "openvino_backend.py"
    backend.write_text(Path("serve/openvino_backend.py").read_text() + OTHERWISE.replace("OTHER", other))
    return ("--volume", f"{backend}:/opt/program/serve/openvino_backend.py:ro")


def check_answers(endpoint: Container, samples: Samples) -> None:
    """The endpoint answers with the right classes, but where two are so close that rounding may decide."""
    endpoint.wait_ready()
    for name, expected in samples.expected.items():
        first, second = sorted(expected, reverse=True)[:2]
        (prediction,) = endpoint.invoke(samples.picture(name)).json["predictions"]
        assert prediction["predicted_class"] == expected.index(first) or first - second < 0.1, name


def chosen(endpoint: Container) -> str:
    """What the endpoint says of the form that it has chosen, once it has."""
    endpoint.wait_for_line("model model: on cpu, chose ")
    (line,) = re.findall(r"^model model: on cpu, chose .*$", endpoint.logs(), re.MULTILINE)
    return str(line)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("case", WRONG)
def test_a_form_that_is_wrong_or_ends_its_process_is_left_out_and_told(
    samples: Samples, tmp_path: Path, case: str, workers: str
) -> None:
    other, words = WRONG[case]
    options = ("--env", f"SAGEMAKER_MODEL_SERVER_WORKERS={workers}")
    with container(samples.model, *otherwise(tmp_path, other), *options, precision="fastest") as endpoint:
        endpoint.wait_ready()
        with Hammer(endpoint, samples, threads=2) as hammer:
            line = chosen(endpoint)
        check_answers(endpoint, samples)
        assert re.search(words, line)
        assert not any(isinstance(answer, Exception) or answer.status != 200 for answer in hammer.wrong)


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
        chosen(endpoint)
        check_answers(endpoint, samples)


def test_a_container_that_is_started_again_measures_nothing(samples: Samples, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    options = ("--volume", f"{tmp_path}:/forms", "--env", "BYOC_FORMS=/forms")
    with container(samples.model, *options, precision="fastest") as endpoint:
        endpoint.wait_ready()
        assert " ms a picture" in chosen(endpoint)
    (record,) = tmp_path.iterdir()
    with container(samples.model, *options, precision="fastest") as endpoint:
        check_answers(endpoint, samples)
        assert "an earlier start on this processor" in chosen(endpoint) and " ms a picture" not in endpoint.logs()
    content = record.read_bytes()
    (tmp_path / "read-only").mkdir()
    (tmp_path / "read-only" / record.name).write_bytes(content[:-10])
    options = ("--volume", f"{tmp_path / 'read-only'}:/forms:ro", "--env", "BYOC_FORMS=/forms")
    with container(samples.model, *options, precision="fastest") as endpoint:
        assert " ms a picture" in chosen(endpoint)
        check_answers(endpoint, samples)
        logs = endpoint.logs()
    assert f"{record.name} cannot be used (" in logs and "is not kept for the next start (" in logs


def test_sigterm_ends_the_measuring_at_once(samples: Samples, tmp_path: Path) -> None:
    with container(samples.model, *otherwise(tmp_path, ENDLESS), precision="fastest") as endpoint:
        endpoint.wait_ready()
        endpoint.wait_until(lambda: bool(endpoint.processes("serve.measuring")))
        docker("kill", "--signal", "TERM", endpoint.name)
        assert endpoint.wait_exit() == 0
        assert "chose" not in endpoint.logs()
