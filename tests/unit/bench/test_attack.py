"""The hostile mix: the same for the same seed, of every kind, and really as bad as it says."""

import io
import random
import zlib

import pytest
from PIL import Image

from bench.attack import HEAVY, KINDS, LARGE, Mix, media
from bench.attack.answers import BARE, Answer, LostError, fault, read_answer

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_makes_the_same_bytes_again(kind: str) -> None:
    for seed in range(10):
        request = KINDS[kind](random.Random(seed))
        assert request.data
        assert request == KINDS[kind](random.Random(seed))
        assert request.answers >= 1 or request.more or request.manner in ("left", "reset", "held")


def test_a_mix_follows_from_its_seed_and_holds_every_kind() -> None:
    drawn = [Mix(1).request(number) for number in range(3000)]
    assert drawn == [Mix(1).request(number) for number in range(3000)]
    assert drawn[:50] != [Mix(2).request(number) for number in range(50)]
    assert {kind for kind, _ in drawn} >= set(KINDS) - set(HEAVY) - set(LARGE)
    assert 1 <= sum(kind in HEAVY for kind, _ in drawn) < 60


@pytest.mark.parametrize("form", media.FORMATS)
def test_the_pictures_that_are_cut_and_changed_are_good_before(form: str) -> None:
    if form == "HEIC":
        assert media.picture(form)[4:12] == b"ftypheic"
    else:
        Image.open(io.BytesIO(media.picture(form))).load()


def test_zeros_are_compressed_as_zlib_would() -> None:
    for length in (0, 1000, 1024 * 1024, 3_000_000):
        assert zlib.decompress(media.zeros(length)) == bytes(length)


def test_pictures_made_by_hand_are_whole() -> None:
    black = Image.open(io.BytesIO(media.black(100, 50, colour=2)))
    assert black.convert("RGB").tobytes() == bytes(100 * 50 * 3)
    assert Image.open(io.BytesIO(media.scans(64, 20))).convert("L").size == (64, 64)
    assert media.scans(64, 20).count(b"\xff\xda") == media.scans(64, 1).count(b"\xff\xda") + 19
    assert getattr(Image.open(io.BytesIO(media.gif(30))), "n_frames") == 30  # noqa: B009


def read(data: bytes, method: str = "POST") -> Answer:
    return read_answer(io.BufferedReader(io.BytesIO(data)), method)  # type: ignore[arg-type]


def test_answers_are_read_whole_and_no_further() -> None:
    both = b"HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n"
    stream = io.BufferedReader(io.BytesIO(both))  # type: ignore[arg-type]
    assert read_answer(stream) == Answer(400, {"content-type": "application/json", "content-length": "2"}, b"{}")
    assert read_answer(stream).status == 200
    chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    assert read(chunked).body == b"abc"
    assert read(b"HTTP/1.1 405 No\r\nContent-Length: 99\r\n\r\n", "HEAD").body == b""
    assert read(b'{"error": "x"}\n') == Answer(BARE, {}, b'{"error": "x"}\n')


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200 OK\r\nA: b\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]
)
def test_an_answer_that_ends_early_is_lost(data: bytes) -> None:
    with pytest.raises(LostError):
        read(data)


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (Answer(200, {}, b"anything"), None),
        (Answer(400, JSON, b'{"error": "a sentence"}'), None),
        (Answer(503, JSON, b'{"error": "a sentence"}'), None),
        (Answer(500, JSON, b'{"error": "a sentence"}'), "5xx"),
        (Answer(502, JSON, b'{"error": "a sentence"}'), "5xx"),
        (Answer(301, {}, b""), "neither success nor error"),
        (Answer(400, {"content-type": "text/html"}, b"<html></html>"), "not JSON"),
        (Answer(400, {"content-type": "text/html"}, b'{"error": "a sentence"}'), "JSON under another type"),
        (Answer(400, JSON, b'{"error": {}}'), "not {error: sentence}"),
        (Answer(400, JSON, b'{"error": "x", "code": 1}'), "not {error: sentence}"),
        (Answer(400, JSON, b'{"error": ""}'), "not one sentence"),
        (Answer(400, JSON, b'{"error": "two\\nlines"}'), "not one sentence"),
        (Answer(BARE, {}, b"<html></html>"), "not JSON"),
        (Answer(BARE, {}, b'{"state": "ready"}'), None),
    ],
)
def test_an_answer_is_held_against_the_contract(answer: Answer, wrong: str | None) -> None:
    assert fault(answer) == wrong
