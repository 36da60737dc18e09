"""Bodies become batches, or one sentence: also the bodies nobody would send by mistake."""

import base64
import contextlib
import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from classifier import pictures
from serve import arrays, decoding
from serve.decoding import RequestError, decode


def png(colour: str = "red", size: tuple[int, int] = (8, 6)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def instances(*bodies: bytes) -> str:
    return json.dumps({"instances": [{"b64": base64.b64encode(body).decode()} for body in bodies]})


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def refusal(body: bytes | str, content_type: str) -> tuple[int, str]:
    with pytest.raises(RequestError) as caught:
        decode(body, content_type)
    assert "\n" not in caught.value.message
    return caught.value.status_code, caught.value.message


@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "image/anything", "application/x-image"])
def test_a_picture_is_known_by_its_content(content_type: str) -> None:
    (image,) = decode(png(), content_type)
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (8, 6), (255, 0, 0))


def test_instances_keep_their_order() -> None:
    batch = decode(instances(png("red"), png("lime")), "application/json")
    assert [image.getpixel((0, 0)) for image in batch] == [(255, 0, 0), (0, 255, 0)]


def test_base64_may_be_wrapped_in_lines() -> None:
    text = base64.encodebytes(png(size=(300, 300))).decode()
    assert "\n" in text.strip()
    (image,) = decode(json.dumps({"instances": [{"b64": text}]}), "application/json")
    assert image.size == (300, 300)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_tensor_arrives_as_it_was_sent(order: str) -> None:
    sent = np.asarray(np.random.default_rng(0).random((2, 3, 4, 5), dtype=np.float32), order=order)
    batch = decode(npy(sent), "application/x-npy")
    assert isinstance(batch, np.ndarray)
    np.testing.assert_array_equal(batch, sent)


UNTOLD = ["", "application/octet-stream", "binary/octet-stream"]


@pytest.mark.parametrize("content_type", UNTOLD)
def test_a_body_of_no_told_type_is_known_by_its_content(content_type: str) -> None:
    (image,) = decode(png(), content_type)
    assert image.size == (8, 6)
    tensor = np.zeros((1, 3, 4, 4), np.float32)
    np.testing.assert_array_equal(decode(npy(tensor), content_type), tensor)


@pytest.mark.parametrize("content_type", UNTOLD)
@pytest.mark.parametrize(
    ("body", "words"), [(b"hello", "not a picture"), (b"%PDF-1.7", "a PDF document"), (b"PK\3\4", "a ZIP archive")]
)
def test_a_body_of_no_told_type_that_is_no_picture_is_refused(content_type: str, body: bytes, words: str) -> None:
    status, sentence = refusal(body, content_type)
    assert status == 415
    assert words in sentence and (content_type or "no Content-Type") in sentence


def test_other_types_are_refused() -> None:
    status, sentence = refusal(b"a,b,c", "text/csv")
    assert (status, "'text/csv' is not read" in sentence) == (415, True)


@pytest.mark.parametrize("content_type", ["text/csv", "text/plain", "application/json"])
def test_a_picture_under_a_wrong_type_is_named(content_type: str) -> None:
    sentences = [refusal(png(), content_type)[1], decoding.not_text(png(), 0).message]
    assert all("send it as Content-Type image/png" in sentence for sentence in sentences)
    assert "not UTF-8 (byte 3)" in decoding.not_text(b"abc\xff", 3).message
    assert "compressed (gzip)" in decoding.not_text(gzip.compress(b"{}"), 1).message


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ""),
        ("IMAGE/JPEG; charset=binary", "image/jpeg"),
        ("application/json ; charset=utf-8", "application/json"),
        ("multipart/form-data; boundary=aB", "multipart/form-data; boundary=aB"),
        ("Multipart/Form-Data; boundary=aB", "Multipart/Form-Data; boundary=aB"),
    ],
)
def test_only_a_form_needs_the_parameters_of_its_type(header: str, expected: str) -> None:
    assert decoding.media_type(header) == expected


def test_the_file_of_a_form_is_a_picture() -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="dog.png"\r\n\r\n' + png() + b"\r\n--x--\r\n"
    (image,) = decode(form, "multipart/form-data; boundary=x")
    assert image.size == (8, 6)
    assert refusal(form.replace(png(), b"hello"), "multipart/form-data; boundary=x")[0] == 400


@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:image/svg+xml;charset=utf-8;base64,"])
def test_base64_comes_in_several_alphabets(prefix: str, encode: Callable[[bytes], bytes], padding: bool) -> None:
    for side in range(1, 9):  # other lengths, other padding
        text = encode(png(size=(300, side))).decode()
        text = prefix + (text if padding else text.rstrip("="))
        (image,) = decode(json.dumps({"instances": [{"b64": text}]}), "application/json")
        assert image.size == (300, side)


@pytest.mark.parametrize("content_type", ["image/png", "application/json", "application/x-npy", "text/plain"])
def test_an_empty_body_is_refused(content_type: str) -> None:
    assert refusal(b"", content_type)[0] == 400


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"instances": ' + "9" * 5000 + "}", "not JSON"),
        ("null", "no instances"),
        ('{"instances": []}', "no instances"),
        ('{"instances": {}}', "no instances"),
        ('{"instances": [null]}', "instance 0"),
        ('{"instances": [{"b64": null}]}', "instance 0"),
        ('{"instances": [{"b64": ""}]}', "instance 0"),
        ('{"instances": [{"b64": "ä"}]}', "not base64"),
        ('{"instances": [{"b64": "YQ"}]}', "not a picture"),
        ('{"instances": [{"b64": "YWJjZ"}]}', "not base64"),
        ('{"instances": [{"b64": "data:text/html;base64,YWJj"}]}', "not base64"),
        ('{"instances": [{"b64": "data:image/png;base64,"}]}', "not a picture"),
        ('{"instances": [{"b64": "YWJj"}]}', "not a picture"),
        ('{"instances": [{"url": "http://127.0.0.1/"}]}', "instance 0"),
    ],
)
def test_bad_json_is_refused(body: str, words: str) -> None:
    status, sentence = refusal(body, "application/json")
    assert status == 400
    assert words in sentence


def test_a_bad_picture_in_a_batch_is_named() -> None:
    status, sentence = refusal(instances(png(), png(), png()[:40]), "application/json")
    assert status == 400
    assert sentence.startswith("instance 2: ")


def test_a_batch_has_a_limit_of_pictures() -> None:
    assert refusal(instances(*[png()] * (decoding.MAX_INSTANCES + 1)), "application/json")[0] == 413


def test_a_batch_has_a_limit_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 100)
    assert len(decode(instances(png(), png()), "application/json")) == 2
    status, sentence = refusal(instances(png(), png(), png()), "application/json")
    assert status == 413
    assert "instances 0 to 2" in sentence


def test_a_bomb_is_refused() -> None:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    status, sentence = refusal(file.getvalue(), "image/png")
    assert status == 413
    assert "million pixels" in sentence


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 4, 4), np.float32), "[N, 3"),
        (np.zeros((1, 1, 4, 4), np.float32), "[N, 3"),
        (np.zeros((0, 3, 4, 4), np.float32), "[N, 3"),
        (np.zeros((1, 3, 4, 4), np.float64), "float32"),
        (np.zeros((1, 3, 4, 4), ">f4"), "float32"),
        (np.full((1, 3, 4, 4), None, object), "float32"),
        (np.full((1, 3, 4, 4), np.nan, np.float32), "NaN"),
        (np.full((1, 3, 4, 4), np.inf, np.float32), "infinite"),
    ],
)
def test_a_wrong_tensor_is_refused(array: np.ndarray, words: str) -> None:
    status, sentence = refusal(npy(array), "application/x-npy")
    assert status == 400
    assert words in sentence


def test_a_damaged_npy_is_refused() -> None:
    whole = npy(np.zeros((1, 3, 4, 4), np.float32))
    for body in (b"text", whole[:5], whole[:20], whole[:-1], whole + b"x", b"PK\x03\x04" + whole):
        assert refusal(body, "application/x-npy")[0] == 400
    assert refusal(npy(np.zeros((65, 3, 4, 4), np.float32)), "application/x-npy")[0] == 413


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 3, 4, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3, -4, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1.0, 3, 4, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 3, 64, 64)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, False, 0)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, '4', 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [1, 3, 4, 4]}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 48}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10**9, 3, 4, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ", 3, 4, 4)}",
        "{'descr': '<f4', 'fortran_order': 1, 'shape': (1, 3, 4, 4)}",
        "{'descr': '<f4', 'fortran_order': 'C', 'shape': (1, 3, 4, 4)}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 4, 4), 'more': 1}",
        "{'descr': ('<f4', (2,)), 'fortran_order': False, 'shape': (1, 3, 4, 4)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 3, 4, 4)}",
        "{'descr': '<f4, <f4', 'fortran_order': False, 'shape': (1, 3, 4, 4)}",
        "{'descr': 4, 'fortran_order': False, 'shape': (1, 3, 4, 4)}",
        "{'descr': None, 'fortran_order': False, 'shape': (1, 3, 4, 4)}",
        "[]",
        "1_",
        "__import__('os').abort()",
        "(" * 5000,
        "'",
    ],
)
def test_a_lying_header_is_refused(header: str) -> None:
    text = header.encode() + b"\n"
    for version, length in ((b"\x01\x00", 2), (b"\x02\x00", 4), (b"\x03\x00", 4), (b"\x01\x01", 2), (b"\xff\xff", 4)):
        body = b"\x93NUMPY" + version + len(text).to_bytes(length, "little") + text + bytes(192)
        assert refusal(body, "application/x-npy")[0] == 400


def test_memory_is_limited_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    large = png(size=(4000, 3000))
    monkeypatch.setenv(decoding.LIMIT_VARIABLE, str(100_000_000))
    (image,) = decode(large, "image/png")
    assert image.size == (4000, 3000)
    # The second one finds the first in memory.
    status, sentence = refusal(instances(large, large), "application/json")
    assert status == 413
    assert sentence.startswith("instance 1: decoding the picture takes 5") and "52 MB are there" in sentence
    monkeypatch.setenv(decoding.LIMIT_VARIABLE, str(10_000_000))
    assert refusal(large, "image/png")[0] == 413


def test_memory_is_there_for_all_pictures_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = [Image.new("RGB", (10, 10))] * 5
    monkeypatch.setenv(decoding.LIMIT_VARIABLE, "5000")
    decoding.check_room(batch, 600)
    decoding.check_room(np.zeros((1, 3, 224, 224), np.float32), 600_000)
    with pytest.raises(RequestError, match=r"5 pictures take 0 MB of memory for the network.*send fewer") as caught:
        decoding.check_room(batch, 601)
    assert caught.value.status_code == 413


def most_memory(function: Callable[[], object]) -> int:
    """Return the most bytes that Python takes at a time while it runs the function."""
    tracemalloc.start()
    try:
        with contextlib.suppress(RequestError):
            function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


JSON_VALUES = ["[]", "{}", "[0]", '{"":0}', "[[[1e1]]]", "1e1", '"ab"', '["é"]', '{"ab":"cd","ef":1e1}', "[1e1,1e1]"]
GROWING = [f"[{','.join([value] * 20_000)}]" for value in JSON_VALUES]
GROWING += [json.dumps({str(number): str(number) for number in range(count)}) for count in (100, 11_000, 100_000)]


@pytest.mark.parametrize("text", GROWING, ids=lambda text: text[:10])
def test_json_that_grows_beyond_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(decoding.LIMIT_VARIABLE, str(most_memory(lambda: json.loads(text)) - 1))
    status, sentence = refusal(text, "application/json")
    assert (status, "more than there is memory for" in sentence) == (413, True)


@pytest.mark.parametrize("row", ["1", "12", "1,2", "," * 100, "12," * 1000, "1.5,2.5,3.5,4.5", "", "a,b"])
def test_csv_that_grows_beyond_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch, row: str) -> None:
    text = f"{row}\n" * (100_000 // (len(row) + 1))
    monkeypatch.setenv(decoding.LIMIT_VARIABLE, str(most_memory(lambda: arrays.csv(text)) - 1))
    with pytest.raises(RequestError, match="more than there is memory for"):
        decoding.numbers(text, "text/csv")


def test_a_picture_in_base64_takes_little_memory_however_it_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(decoding.LIMIT_VARIABLE, "100000")
    text = json.dumps({"instances": [{"b64": "YW Jj\n" * 200_000}]})
    assert most_memory(lambda: decode(text, "application/json")) < 7 * len(text)


def test_memory_that_ends_is_507(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_left(*_: object) -> None:
        raise pictures.OutOfMemoryError("there is not enough memory left")

    monkeypatch.setattr(pictures, "decode", nothing_left)
    assert refusal(png(), "image/png")[0] == 507


def test_whatever_a_body_holds_it_is_a_batch_or_refused() -> None:
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + png() + b"\r\n--x--\r\n"
    bodies = {
        "image/png": png(),
        "application/octet-stream": png(),
        "application/json": instances(png(), png()).encode(),
        "application/x-npy": npy(np.zeros((1, 3, 4, 4), np.float32)),
        "multipart/form-data; boundary=x": form,
    }
    generator = random.Random(0)
    for content_type, whole in bodies.items():
        for _ in range(500):
            body = bytearray(whole)
            for _ in range(generator.randint(1, 6)):
                place = generator.randrange(generator.choice((len(body), 130)))
                if generator.random() < 0.5:
                    body[place : place + 1] = generator.choice((b"\xff", b"\0", b"-", b"'", b"(", b"9", b"\r\n", b'"'))
                else:
                    del body[place : place + generator.choice((1, 2, 20))]
            with contextlib.suppress(RequestError):
                assert len(decode(bytes(body), content_type)) > 0
