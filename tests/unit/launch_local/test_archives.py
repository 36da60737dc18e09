"""Archives of others: what is in them is unpacked, and nothing that would land elsewhere."""

import io
import tarfile
from pathlib import Path

import pytest

from byoc_vision import UserError, archives


def packed(file: Path, *members: tarfile.TarInfo, content: bytes = b"content") -> Path:
    """Write a tar.gz of these members, each regular one with the content."""
    with tarfile.open(file, "w:gz") as tar:
        for member in members:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return file


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o600) -> tarfile.TarInfo:
    """Return a member of that name and kind."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    return info


def test_files_and_folders_are_unpacked_for_all_to_read(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    archive = packed(
        tmp_path / "model.tar.gz",
        member("./", tarfile.DIRTYPE),
        member("empty", tarfile.DIRTYPE),
        member("code/a.py", mode=0o4777),
    )
    archives.unpack(archive, out)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == ["code", "code/a.py", "empty"]
    assert (out / "code" / "a.py").read_bytes() == b"content"
    assert (out / "code" / "a.py").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "code/../../outside"])
def test_a_member_that_would_land_outside(tmp_path: Path, name: str) -> None:
    archive = packed(tmp_path / "model.tar.gz", member(name))
    with pytest.raises(UserError, match="would land outside its folder"):
        archives.unpack(archive, tmp_path)
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_a_link_or_device(tmp_path: Path, kind: bytes) -> None:
    archive = packed(tmp_path / "model.tar.gz", member("model.json", kind, link="/etc/passwd"))
    with pytest.raises(UserError, match="a link or device"):
        archives.unpack(archive, tmp_path)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_damaged_archive(tmp_path: Path) -> None:
    content = bytes(range(256)) * 400
    whole = packed(tmp_path / "model.tar.gz", member("weights"), content=content).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2 :] = bytes(len(whole) - len(whole) // 2)
    for damaged in (b"", b"no archive", whole[:-40], bytes(flipped)):
        (tmp_path / "model.tar.gz").write_bytes(damaged)
        with pytest.raises(UserError, match=r"model\.tar\.gz cannot be unpacked .*; fetch it again"):
            archives.unpack(tmp_path / "model.tar.gz", tmp_path)


def test_a_disk_that_fills(tmp_path: Path) -> None:
    archive = packed(tmp_path / "model.tar.gz", member("full"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "full").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"cannot be unpacked \(No space left on device\); put that right"):
        archives.unpack(archive, tmp_path / "out")
