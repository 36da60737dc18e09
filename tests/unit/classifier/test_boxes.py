"""HEIC and AVIF: the primary picture is read, without films and metadata."""

import io
import struct

import pytest
from PIL import Image

from classifier import boxes
from classifier.errors import PictureError, PictureTooLargeError
from classifier.pictures import decode
from tests.unit.classifier.conftest import encoded


def box(name: bytes, *content: bytes) -> bytes:
    return struct.pack(">I", 8 + sum(map(len, content))) + name + b"".join(content)


def grid(tiles: int, side: int, kind: bytes = b"hvc1", name: bytes = b"grid") -> bytes:
    """Return a file whose primary item is put together of `tiles`, all of them the one coded item there is."""
    items = [box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", i + 1, 0, t), b"\0") for i, t in enumerate((name, kind))]
    references = box(b"dimg", struct.pack(">HH", 1, tiles), struct.pack(">H", 2) * tiles)
    size = box(b"ispe", bytes(4), struct.pack(">II", side, side))
    associated = box(b"ipma", bytes(4), struct.pack(">IHBB", 1, 2, 1, 1))
    meta = (
        box(b"pitm", bytes(4), struct.pack(">H", 1)),
        box(b"iinf", bytes(4), struct.pack(">H", 2), *items),
        box(b"iref", bytes(4), references),
        box(b"iprp", box(b"ipco", size), associated),
    )
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4), *meta)


def phone(heic: bytes) -> bytes:
    """Return a HEIC as phones write it: two tiles in a row, each the coded picture of `heic`, and metadata."""
    found = {name: heic[heic.index(name) - 4 :] for name in (b"hvcC", b"hdlr", b"mdat")}
    coding, handler, content = (part[: struct.unpack_from(">I", part)[0]] for part in found.values())
    kinds = enumerate((b"grid", b"hvc1", b"hvc1", b"Exif"), start=1)
    items = [box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", number, 0, kind), b"\0") for number, kind in kinds]
    sizes = [box(b"ispe", bytes(4), struct.pack(">II", width, 64)) for width in (64, 128)]
    # One property is the grid's, two are the tiles'.
    associated = struct.pack(">IHBB", 3, 1, 1, 3) + struct.pack(">HBBB", 2, 2, 1, 2) + struct.pack(">HBBB", 3, 2, 1, 2)
    references = box(b"dimg", struct.pack(">HHHH", 1, 2, 2, 3)), box(b"cdsc", struct.pack(">HHH", 4, 1, 1))

    def whole(start: int) -> bytes:
        # The grid's description is the first 8 bytes of idat, the metadata what follows.
        places = ((1, 1, 0, 8), (2, 0, start, len(content) - 8), (3, 0, start, len(content) - 8), (4, 1, 8, 4))
        located = b"".join(struct.pack(">HHHHII", item, method, 0, 1, *place) for item, method, *place in places)
        meta = (
            handler,
            box(b"pitm", bytes(4), struct.pack(">H", 1)),
            box(b"iinf", bytes(4), struct.pack(">H", 4), *items),
            box(b"iref", bytes(4), *references),
            box(b"iprp", box(b"ipco", coding, *sizes), box(b"ipma", bytes(4), associated)),
            box(b"iloc", b"\1\0\0\0\x44\0", struct.pack(">H", 4), located),
            box(b"idat", struct.pack(">BBBBHH", 0, 0, 0, 1, 128, 64), bytes(4)),
        )
        return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4), *meta)

    return whole(len(whole(0)) + 8) + content


def test_a_phones_tiles_are_put_together(files: dict[str, bytes]) -> None:
    image = decode(phone(files["HEIF"]))
    assert image.size == (128, 64)
    reds = [image.getpixel((x, 20))[0] > 150 for x in (10, 50, 74, 114)]
    assert reds == [True, False, True, False]


def test_heic(files: dict[str, bytes]) -> None:
    image = decode(files["HEIF"])
    assert (image.mode, image.size) == ("RGB", (64, 48))
    left, right = image.getpixel((10, 20)), image.getpixel((50, 20))
    assert left[0] > 150 > left[2] and right[2] > 150 > right[0]


@pytest.mark.parametrize("brand", [b"mif1", b"msf1", b"miaf", b"heix", b"hevc"])
def test_the_coding_decides_whatever_the_brand(files: dict[str, bytes], brand: bytes) -> None:
    for form in ("HEIF", "AVIF"):
        data = files[form][:8] + brand + files[form][12:]
        assert boxes.primary(data)[0] == form
        assert decode(data).size == (64, 48)


def test_transparent_avif_shows_a_white_page() -> None:
    data = encoded(Image.new("RGBA", (20, 10), (255, 0, 0, 0)), "AVIF")
    assert decode(data).getpixel((5, 5)) == (255, 255, 255)


def test_turned_avif() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encoded(Image.new("RGB", (20, 10)), "AVIF", exif=exif)).size == (10, 20)


def test_of_an_avif_animation_the_still_is_read() -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], "AVIF", save_all=True, append_images=frames[1:])
    form, reduced = boxes.primary(data)
    assert (form, b"moov" in data, b"moov" in reduced) == ("AVIF", True, False)
    assert decode(data).getpixel((5, 5))[0] > 200


def test_metadata_is_not_read() -> None:
    data = encoded(Image.new("RGB", (64, 48)), "AVIF", xmp=b"x" * 100_000)
    with Image.open(io.BytesIO(boxes.primary(data)[1])) as image:
        assert "xmp" not in image.info


def test_tiles_are_limited() -> None:
    assert boxes.primary(grid(200, 512))[0] == "HEIF"
    with pytest.raises(PictureTooLargeError, match="million pixels"):
        decode(grid(200, 4096))
    with pytest.raises(PictureTooLargeError, match="4096 tiles"):
        decode(grid(5000, 16))


def test_a_picture_larger_than_its_file_says_is_refused(files: dict[str, bytes]) -> None:
    # An HEVC encoder codes whole blocks; what is too much is cut off when it is shown.
    for form, size in {"HEIF": (64, 64), "AVIF": (64, 48)}.items():
        said = struct.pack(">II", *size)
        assert said in files[form]
        with pytest.raises(PictureError, match="size"):
            decode(files[form].replace(said, struct.pack(">II", 16, 16)))


def test_pieces_are_limited() -> None:
    # Lengths and offsets of no bytes: however many pieces there are, they take no room.
    places = box(b"iloc", bytes(6), struct.pack(">H", 65_535), struct.pack(">HHH", 1, 0, 65_535) * 65_535)
    with pytest.raises(PictureError, match="pieces"):
        decode(box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4), places))


def test_boxes_cannot_claim_what_is_in_others() -> None:
    claims = (box(b"ipma", bytes(4), struct.pack(">I", 10**9)), box(b"ipma", bytes(4), struct.pack(">I", 4000)))
    for claim in claims:
        with pytest.raises(PictureError, match="ends too early"):
            decode(box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4), box(b"iprp", claim * 10_000)))


@pytest.mark.parametrize(("kind", "name"), [(b"hvc1", b"iovl"), (b"hvc1", b"iden"), (b"jpeg", b"grid")])
def test_other_compositions_are_refused(kind: bytes, name: bytes) -> None:
    with pytest.raises(PictureError, match="coded in a way that is not read"):
        decode(grid(1, 16, kind, name))


def test_boxes_that_claim_more_than_there_is() -> None:
    for claimed in (2, 7, 10**6, 2**32 - 1):
        with pytest.raises(PictureError, match="ends too early"):
            decode(box(b"ftyp", b"heic\0\0\0\0") + struct.pack(">I", claimed) + b"meta" + bytes(50))
