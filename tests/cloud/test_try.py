"""byoc try: the page to try a model, as a program, over HTTP and in a real browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from byoc_vision.contract.errors import UserError
from byoc_vision.demo.kept import Kept
from tests.cloud.conftest import PACKAGES, PYTHON, Run, prediction
from tests.cloud.fake_aws import FakeAws

JPEG = b"\xff\xd8\xff"


@contextmanager
def opened_page(environment: dict[str, str], folder: Path, *options: str) -> Iterator[str]:
    """Run the command; yield the page's address. At Ctrl-C it ends without an error."""
    its = environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}{os.pathsep}{PACKAGES}"}
    command = [PYTHON, "-m", "launch.try", "--no-open", *options]
    with subprocess.Popen(command, env=its, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            (url,) = re.findall(r"http://\S+", process.stdout.readline())
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0


@pytest.fixture
def page(endpoint: None, checkout: Path, environment: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """The address of the page of the endpoint byoc-vision."""
    with opened_page(environment, tmp_path) as url:
        yield url


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
    """Return the status, the headers and the content of the answer to a request."""
    request = urllib.request.Request(url, body, {"Content-Type": "image/png"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_a_picture_is_answered_or_its_error_said(page: str) -> None:
    status, _, content = ask(f"{page}answers", b"dog")
    assert status == 200 and json.loads(content)["answer"]["label"] == "dog as image/png"
    assert 0 < json.loads(content)["seconds"] < 20
    _, _, content = ask(f"{page}answers", b"dog", **{"Content-Type": "text/html"})
    assert json.loads(content)["answer"]["label"] == "dog as application/x-image"
    _, _, content = ask(f"{page}answers", b"broken")
    assert json.loads(content)["error"] == "the picture cannot be read"
    status, _, content = ask(f"{page}answers", b"x" * (6 * 2**20 + 1))
    assert status == 400 and "6.0 MB and endpoints take 6" in json.loads(content)["error"]


def test_only_who_has_the_address_is_answered(page: str, aws: FakeAws) -> None:
    root = page.rpartition("/")[0].rpartition("/")[0]
    for url in (f"{root}/", f"{root}/answers", f"{root}/wrong/answers", f"{root}/caf\u00e9/".replace("é", "%C3%A9")):
        assert ask(url, b"dog")[0] == 404
        assert ask(url)[0] == 404
    # A page whose own host's name leads here
    assert ask(f"{page}answers", b"dog", Host="evil.example:80")[0] == 404
    assert not aws.invocations
    status, headers, _ = ask(page)
    assert status == 200 and "default-src 'none'" in headers["Content-Security-Policy"]
    assert ask(f"{page}../../../etc/passwd")[0] == 404 and ask(f"{page}server.py")[0] == 404


def test_kept_pictures_are_a_folder_for_training(page: str, tmp_path: Path) -> None:
    _, _, content = ask(f"{page}kept?label=sea%20lion", JPEG + b"1")
    file = Path(json.loads(content)["file"])
    assert file.read_bytes() == JPEG + b"1" and file.parent == tmp_path / "kept" / "sea lion" and file.suffix == ".jpg"
    ask(f"{page}kept?label=%E7%8A%AC", JPEG + b"1")  # it was another one after all
    assert not file.exists() and (tmp_path / "kept" / "犬" / file.name).exists()
    assert json.loads(ask(f"{page}settings")[2])["labels"] == ["sea lion", "犬"]


@pytest.mark.parametrize(
    "label", ["", " ", ".", "..", "../x", "a/b", "a\\b", "a\0b", "a\nb", ".git", "-rf", "C:", "x" * 256, "Thumbs.db"]
)
def test_labels_that_are_no_folders(tmp_path: Path, label: str) -> None:
    with pytest.raises(UserError, match="cannot be a label"):
        Kept(tmp_path / "kept").keep(JPEG, label)
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        Kept(tmp_path / "kept").keep(JPEG, "dog")


def test_what_cannot_be_tried(run: Run, endpoint: None, tmp_path: Path) -> None:
    assert "there is no endpoint 'nothing' in us-east-1; check" in run("try", "nothing", "--no-open").sentence
    assert "99999" in run("try", "--port", "99999").err
    assert "--model with --local only" in run("try", "--model", "job").err
    with taken_port() as port:
        assert f"port {port} cannot be listened on" in run("try", "--port", port, "--no-open").sentence


@contextmanager
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


@contextmanager
def chromium(page: str) -> Iterator[tuple[Any, Any]]:
    """Open the page; yield the browser, and what waits for something in it."""
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-background-networking"):
        options.add_argument(f"--{option}")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(options=options, service=service) as browser:
        wait = WebDriverWait(browser, 20)
        browser.get(page)
        wait.until(lambda _: "byoc-vision in us-east-1" in browser.find_element("id", "endpoint").text)
        yield browser, wait


def dropped(browser: Any, *files: Path) -> None:
    """Drop files or folders, as from a desktop."""
    drop = {"type": "drop", "x": 200, "y": 200}
    for event in ("dragEnter", "drop"):
        content = {"items": [], "files": list(map(str, files)), "dragOperationsMask": 1}
        browser.execute_cdp_cmd("Input.dispatchDragEvent", drop | {"type": event, "data": content})


needs_browser = pytest.mark.skipif(
    not shutil.which("chromedriver"), reason="the package chromium-driver is not installed"
)


@needs_browser
def test_hostile_names_and_pictures_do_no_harm(page: str, tmp_path: Path, aws: FakeAws) -> None:
    label = "\u05db\u05dc\u05d1" + "x" * 300

    def container(body: bytes, content_type: str) -> tuple[int, dict[str, Any]]:
        if body.startswith(b"handler"):
            return 200, {"predictions": [{"top_k": [None, "<b>"], "label": 3}]}
        return (200, prediction(label, 0.93)) if body else (400, {"error": "<b>the picture is empty"})

    aws.container = container
    harm = "document.title = 'harmed'"
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" onload="{harm}"><script>{harm}</script></svg>'
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0\0\0\0\0"
    pictures = {
        f'"><img src=x onerror="{harm}">.jpg': b"\xff\xd8\xff",
        "a\u202egpj.exe.png": header,
        "'\";${1}`\\.jpg": b"no picture",
        "new\nline\x01\x7f.jpg": b"\0" * 100,
        "drawn.svg": svg.encode(),
        "empty.jpg": b"",
        "handler.jpg": b"handler",
        "/".join(["x" * 250] * 15) + ".jpg": b"deep",
    }
    folder = tmp_path / "a <b>folder"
    for name, content in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "gone.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.jpg")  # nothing comes out of it
    with chromium(page) as (browser, wait):
        dropped(browser, folder)
        wait.until(lambda _: browser.find_element("id", "summary").text.startswith("7 of 9 answered, 2 refused"))
        assert browser.title == "Try a model"
        cards = browser.find_elements("class name", "answer")
        shown = {card.find_element("class name", "file").get_property("textContent"): card for card in cards}
        assert shown.keys() == {f"a <b>folder/{name}" for name in [*pictures, "pipe.jpg"]}
        said = {name.partition("/")[2]: card.find_element("class name", "verdict").text for name, card in shown.items()}
        assert said["empty.jpg"] == "<b>the picture is empty"
        assert said["handler.jpg"] == '{"top_k":[null,"<b>"],"label":3}'
        assert said["drawn.svg"] == label
        width = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert browser.execute_script(width) == 0


@needs_browser
def test_in_a_browser(page: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By

    names = ("<img src=x onerror=alert(1)>.jpg", "a.png", "broken.gif", "b.tiff", ".hidden.jpg", "notes.txt")
    for name in names:
        (tmp_path / name).write_text("broken" if name.startswith("broken") else "<script>alert(1)</script>")
    with chromium(page) as (browser, wait):

        def summary(text: str) -> None:
            wait.until(lambda _: browser.find_element(By.ID, "summary").text == text)

        # One is dropped, as from a desktop; the others are chosen.
        dropped(browser, tmp_path / names[0])
        summary("1 of 1 answered")
        browser.find_element(By.ID, "files").send_keys("\n".join(str(tmp_path / name) for name in names[1:]))
        summary("3 of 4 answered, 1 refused, 2 left out, which are no pictures")

        cards = browser.find_elements(By.CLASS_NAME, "answer")
        assert [card.find_element(By.CLASS_NAME, "verdict").text for card in cards] == [
            "<script>alert(1)</script> as image/png",
            "the picture cannot be read",
            "<script>alert(1)</script> as application/x-image",
            "<script>alert(1)</script> as image/jpeg",
        ]
        assert cards[3].find_element(By.CLASS_NAME, "file").text == "<img src=x onerror=alert(1)>.jpg"
        assert cards[3].find_element(By.CLASS_NAME, "time").text.endswith(" ms")
        assert cards[0].find_element(By.CSS_SELECTOR, ".bars").text.replace("\n", " ") == (
            "<script>alert(1)</script> as image/png 93.0 % other 7.0 %"
        )
        cards[0].find_element(By.TAG_NAME, "input").send_keys("sea lion\n")  # the keyboard is enough
        wait.until(lambda _: cards[0].find_element(By.TAG_NAME, "output").text.startswith("kept as "))
        assert [file.parent.name for file in (tmp_path / "kept").glob("*/*")] == ["sea lion"]
        cards[1].find_element(By.TAG_NAME, "input").send_keys("../..")
        cards[1].find_element(By.TAG_NAME, "button").click()
        wait.until(lambda _: "cannot be a label" in cards[1].find_element(By.TAG_NAME, "output").text)
