"""The report that byoc report makes: of a healthy job, and in Chromium, as wide as on a desk and on a phone."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from html import escape
from pathlib import Path

import numpy as np
import pytest

from byoc_vision.debugger import quality

CHECKOUT = Path(__file__).resolve().parent.parent.parent
WIDTHS = (1280, 390)

#: A page that shows another in a frame of some width (a window has a least width), and says how wide that one is.
FRAME = """<iframe id="frame" style="width: {width}px; height: 900px; border: 0" srcdoc="{page}"></iframe><script>
onload = () => {{
  document.documentElement.dataset.width = frame.contentDocument.documentElement.scrollWidth
  document.documentElement.dataset.milliseconds = Math.round(performance.now())
}}
</script>"""

#: Milliseconds that the largest page may take; 140 were seen.
MOST_MILLISECONDS = 5000


def run_inside(job: Path, mounts: list[str], command: list[str]) -> None:
    """Run a program in the training image, as the caller, with the folder `job` as /job."""
    user = ["--user", f"{os.getuid()}:{os.getgid()}", "--mount", f'type=bind,"source={job}",target=/job']
    image = "byoc-vision-train:latest"
    subprocess.run(["docker", "run", "--rm", "--network", "none", *user, *mounts, image, *command], check=True)


def make_report(*arguments: str | Path) -> list[str]:
    """Run launch.report and return the lines it printed."""
    command = [sys.executable, "-m", "launch.report", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Have launch.report make the report of a job with all there is, and return its page."""
    folder = tmp_path_factory.mktemp("a job, ")
    code = "from pathlib import Path; from tests.unit.debugger.jobs import whole_job; whole_job(Path('/job/data'))"
    (folder / "data").mkdir()
    checkout = ["--volume", f"{CHECKOUT}:/checkout:ro", "--env", "PYTHONPATH=/checkout", "--workdir", "/checkout"]
    run_inside(folder, checkout, ["python", "-c", code])
    assert make_report(folder, "--data", folder / "pictures")[-1] == f"wrote {folder}/data/report.html"
    assert {path.lstat().st_uid for path in folder.rglob("*")} == {os.getuid()}
    return folder / "data" / "report.html"


def test_model_and_pictures_are_found(report: Path) -> None:
    facts = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert facts["missing"] == []
    assert facts["versions"] == {"torch": "2.10"}
    assert report.read_text(encoding="utf-8").count('src="data:image/jpeg') == 1


def test_a_healthy_job_on_real_photographs_fires_no_rule(real_data: Path, tmp_path: Path) -> None:
    """Eight gentle epochs: later, or faster, training gains on validation by more than Overfit allows."""
    weights = "--arch mobilenet_v2 --weights /data/weights/mobilenet_v2-9dda7561.pth"
    train = f"python -m train --out /job --data /data/data/trashnet6 {weights} --epochs 8 --lr 0.001 --export false"
    run_inside(tmp_path, ["--volume", f"{real_data}:/data:ro", "--env", "OMP_NUM_THREADS=1"], train.split())
    assert make_report(tmp_path) == [f"wrote {tmp_path}/output/report.html"]
    rules = json.loads((tmp_path / "output" / "report.json").read_text(encoding="utf-8"))["rules"]
    assert {rule["RuleEvaluationStatus"] for rule in rules} == {"NoIssuesFound"}
    assert not [rule["Rule"] for rule in rules if rule["Applicable"] and not rule["Judged"]]
    check_calibration(tmp_path / "output")


def check_calibration(output: Path) -> None:
    """Assert that the temperature made the test pictures' probabilities what they say, and changed no answer."""
    calibrated = np.load(output / "probabilities.npy").astype(float)
    # What is divided by the temperature in the logits is a power of the probabilities.
    plain = calibrated ** json.loads((output / "metrics.json").read_text())["temperature"]
    plain /= plain.sum(axis=1, keepdims=True)
    with (output / "predictions.csv").open(newline="", encoding="utf-8") as file:
        right = np.array([row["label"] == row["predicted"] for row in csv.DictReader(file)])
    before, after = (quality.calibration(right, table.max(axis=1))["error"] for table in (plain, calibrated))
    assert after < before
    assert (plain.argmax(axis=1) == calibrated.argmax(axis=1)).all()


def browse(page: Path, folder: Path, width: int, *options: str) -> tuple[str, list[str]]:
    """Open a page; return what the browser printed, and what the page's console said."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here; Debian's package is called chromium")
    quiet = ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", *quiet, "--enable-logging=stderr"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--hide-scrollbars"]
    done = subprocess.run([*command, *options, page.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("width", WIDTHS)
def test_renders_without_a_word_on_the_console(report: Path, tmp_path: Path, width: int) -> None:
    picture = tmp_path / f"report-{width}.png"
    _, console = browse(report, tmp_path, width, f"--screenshot={picture}")
    assert console == []
    assert picture.stat().st_size > 10_000


def measured(page: Path, folder: Path, width: int, *options: str) -> dict[str, int]:
    """Return the page's `width`, in a frame of that width, and the `milliseconds` until it was loaded."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=escape(page.read_text(encoding="utf-8"))), encoding="utf-8")
    dom, _ = browse(frame, folder, width, *options, "--dump-dom")
    return {name: int(value) for name, value in re.findall(r'data-(width|milliseconds)="(\d+)"', dom)}


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_of_the_window(report: Path, tmp_path: Path, width: int) -> None:
    assert measured(report, tmp_path, width, "--virtual-time-budget=2000")["width"] == width


@pytest.mark.parametrize("width", WIDTHS)
def test_many_classes_and_pictures_open_soon(tmp_path: Path, width: int) -> None:
    labels = [f"{number:03}.American_Staffordshire_Terrier_{number}" for number in range(133)]
    lines = ["file,label,predicted,probability"]
    for i in range(8351):
        said = labels[(i + (i % 7 == 0) * (i % 5)) % 133]
        lines.append(f"test/{labels[i % 133]}/{i:05}.jpg,{labels[i % 133]},{said},{0.4 + i % 60 / 100:.6f}")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "predictions.csv").write_text("\n".join(lines))
    make_report(tmp_path / "job")
    page = tmp_path / "job" / "report.html"
    assert page.stat().st_size < 2_000_000
    found = measured(page, tmp_path, width)
    assert found["width"] == width and found["milliseconds"] < MOST_MILLISECONDS


def test_a_page_that_runs_or_loads_something_is_noticed(report: Path, tmp_path: Path) -> None:
    """The page's own policy forbids both, and the console, which the test above reads, says so."""
    copy = tmp_path / "copy.html"
    evil = "<script>document.title = 'ran'</script><img src='https://example.invalid/x.png'>"
    copy.write_text(report.read_text(encoding="utf-8").replace("</body>", evil + "</body>"), encoding="utf-8")
    dom, console = browse(copy, tmp_path, 1280, "--dump-dom")
    assert "<title>Training report</title>" in dom
    assert len(console) == 2
