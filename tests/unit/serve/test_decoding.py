"""Bodies become batches, or one sentence: also the bodies nobody would send by mistake."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from classifier import pictures
from serve import decoding
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


@pytest.mark.parametrize(("content_type", "words"), [("text/csv", "'text/csv'"), ("", "no Content-Type")])
def test_other_types_are_refused(content_type: str, words: str) -> None:
    status, sentence = refusal(png(), content_type)
    assert status == 415
    assert words in sentence


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
        ('{"instances": [{"b64": "YQ"}]}', "not base64"),
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
        "__import__('os').abort()",
        "(" * 5000,
        "'",
    ],
)
def test_a_lying_header_is_refused(header: str) -> None:
    text = header.encode() + b"\n"
    for version, length in ((b"\x01\x00", 2), (b"\x02\x00", 4)):
        body = b"\x93NUMPY" + version + len(text).to_bytes(length, "little") + text
        assert refusal(body, "application/x-npy")[0] == 400
