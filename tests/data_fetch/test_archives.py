"""Unpacking: hostile, damaged and littered archives, and one that fills the disk."""

from __future__ import annotations

import hashlib
import io
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from data_fetch import archives, bring
from data_fetch.sets import DataError
from tests.data_fetch.official import chase, stare, tarred, zipped

MB = 10**6


def refused(tmp_path: Path, content: bytes, words: str, *, bound: int = 100 * MB) -> None:
    """The archive is refused in one line, and nothing is outside the folder it was unpacked to."""
    archive = tmp_path / "archive.bin"
    archive.write_bytes(content)
    into = tmp_path / "deep" / "into"
    into.mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match=words) as caught:
        archives.unpack(archive, into, bound=bound)
    assert "archive.bin" in str(caught.value) and "\n" not in str(caught.value)
    outside = [path for path in tmp_path.rglob("*") if into not in path.parents and path.is_file()]
    assert [path for path in outside if path != archive and not path.name.startswith("into.")] == []
    assert not any(path.is_symlink() for path in into.rglob("*"))


NAMES = ["/etc/passwd", "../up.jpg", "a/../../up.jpg", "a/.."]
NAMES += ["..\\up.jpg", "C:\\x.jpg", "\\\\server\\x.jpg", "a\nb.jpg"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_that_lead_out_are_refused(tmp_path, pack, name):
    refused(tmp_path, pack({"fine.jpg": b"1", name: b"2"}), "leads out of the folder")


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.jpg"])
def test_zip_names_are_taken_as_they_are_and_not_as_zipfile_cleans_them(tmp_path, name):
    content = zipped({"x" * len(name): b"2"}).replace(b"x" * len(name), name.encode())
    refused(tmp_path, content, "leads out of the folder")


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize("twice", [("a.jpg", "A.JPG"), ("a/b.jpg", "./a//b.jpg"), ("\u00e4.jpg", "a\u0308.jpg")])
def test_duplicate_names_are_refused(tmp_path, pack, twice):
    refused(tmp_path, pack(dict.fromkeys(twice, b"1")), "the same name twice")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", b"1")
        archive.writestr("a.jpg", b"2")
    refused(tmp_path, buffer.getvalue(), "the same name twice")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_file_that_is_a_folder_too_is_refused(tmp_path, pack):
    refused(tmp_path, pack({"a": b"1", "a/b.jpg": b"2"}), "a file and a folder at once")


@pytest.mark.parametrize(
    ("kind", "word"),
    [(tarfile.SYMTYPE, "link"), (tarfile.LNKTYPE, "link"), (tarfile.CHRTYPE, "device"), (tarfile.BLKTYPE, "device"),
     (tarfile.FIFOTYPE, "device")],
)  # fmt: skip
@pytest.mark.parametrize("target", ["../../etc", "/etc/passwd", "fine.jpg"])
def test_links_and_device_files_in_a_tar_are_refused(tmp_path, kind, word, target):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("door")
        info.type, info.linkname = kind, target
        archive.addfile(info)
        inner = tarfile.TarInfo("door/passwd")
        inner.size = 1
        archive.addfile(inner, io.BytesIO(b"x"))
    refused(tmp_path, buffer.getvalue(), f"'door' is a {word}")


@pytest.mark.parametrize(("mode", "word"), [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "device")])
def test_links_and_device_files_in_a_zip_are_refused(tmp_path, mode, word):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("door")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "/etc")
    refused(tmp_path, buffer.getvalue(), f"'door' is a {word}")


@pytest.mark.parametrize(("pack", "options"), [(zipped, {}), (tarred, {"mode": "w:gz"})])
def test_a_bomb_is_refused_before_it_is_written(tmp_path, pack, options):
    content = pack({f"{n}.jpg": bytes(30 * MB) for n in range(4)}, **options)
    assert archives.bound_of(len(content)) == 100 * MB
    refused(tmp_path, content, "unpacks to more than 100000000 bytes")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.jpg")) <= 100 * MB


def test_a_member_larger_than_it_claims_is_refused(tmp_path):
    content = bytearray(zipped({"a.jpg": bytes(500_000)}))
    for at in (22, content.index(b"PK\1\2") + 24):  # the size in the local and in the central header
        content[at : at + 4] = (1000).to_bytes(4, "little")
    refused(tmp_path, bytes(content), "damaged|does not have")
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 10_000


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_litter_is_dropped(tmp_path, pack):
    litter = ["._a.jpg", "d/._b.jpg", "__MACOSX/d/._b.jpg", ".DS_Store", "d/.DS_Store", "Thumbs.db", "__MACOSX/x.jpg"]
    (tmp_path / "a.bin").write_bytes(pack({"a.jpg": b"a", "d/b.jpg": b"bb"} | dict.fromkeys(litter, b"?")))
    files = archives.unpack(tmp_path / "a.bin", tmp_path / "into", bound=MB)
    assert files == {
        "a.jpg": (1, hashlib.sha256(b"a").hexdigest()),
        "d/b.jpg": (2, hashlib.sha256(b"bb").hexdigest()),
    }
    assert sorted(path.name for path in (tmp_path / "into").rglob("*")) == ["a.jpg", "b.jpg", "d"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "text"])
@pytest.mark.parametrize(("pack", "options"), [(zipped, {}), (tarred, {"mode": "w:gz"}), (tarred, {})])
def test_damaged_archives_are_named(tmp_path, pack, options, damage):
    content = bytearray(pack({f"{n}.jpg": hashlib.sha256(bytes([n])).digest() * 200 for n in range(9)}, **options))
    if damage == "cut":
        del content[len(content) * 2 // 3 :]
    elif damage == "flipped" and not (pack is tarred and not options):
        content[len(content) // 2] ^= 255
    else:
        content[:] = b"not an archive " * 100
    refused(tmp_path, bytes(content), "damaged|neither a zip nor a tar")


def test_a_password_is_refused(tmp_path):
    content = bytearray(zipped({"a.jpg": b"a"}))
    for at in (6, content.index(b"PK\1\2") + 8):
        content[at] |= 1
    refused(tmp_path, bytes(content), "a file with a password")


def test_archives_in_an_archive_get_folders_of_their_names(tmp_path, folder):
    inner = zipped({"images/21_training.tif": b"x"})
    (tmp_path / "datasets.zip").write_bytes(zipped({"training.zip": inner, "readme.txt": b"hello"}))
    files = archives.unpack(tmp_path / "datasets.zip", tmp_path / "into", bound=MB)
    files = archives.unpack_nested(tmp_path / "into", files, MB)
    assert sorted(files) == ["readme.txt", "training/images/21_training.tif"]
    assert sorted(path.name for path in (tmp_path / "into").iterdir()) == ["readme.txt", "training"]


def test_a_hostile_import_leaves_nothing(tmp_path, folder):
    (tmp_path / "CHASEDB1.zip").write_bytes(zipped({"Image_01L.jpg": b"x", "../../up.jpg": b"x"}))
    with pytest.raises(DataError, match="leads out"):
        bring.bring("chase", tmp_path / "CHASEDB1.zip")
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [".lock"]


def test_a_full_disk_while_unpacking(tmp_path, folder):
    """In a process of its own, on a tmpfs of 300 kB where that can be mounted, else with a limit of 20 kB a file."""
    (tmp_path / "CHASEDB1.zip").write_bytes(chase())
    for name, content in stare(60).items():
        (tmp_path / name).write_bytes(content)
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(small)], capture_output=True)
    code = (
        "import os, sys, pathlib, resource\n"
        f"if {mounted.returncode}: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from data_fetch import bring, parts, store\n"
        "from data_fetch.sets import DataError\n"
        "store.check_room = lambda *arguments: None\n"  # it would have said so before
        "try: bring.bring('stare' if not sys.argv[2:] else 'chase', pathlib.Path(sys.argv[1]))\n"
        "except DataError as problem: print(problem); left = list(store.folder('stare').rglob('*.ppm')); print(left)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "all-images.zip")],
            capture_output=True, text=True, env={"MEDSR_DATA": str(small), "PATH": "/usr/bin:/bin"}, cwd=Path.cwd(),
        )  # fmt: skip
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(small)], check=True)
    if "No module named 'resource'" in done.stderr:
        pytest.skip("limits are a POSIX thing")
    assert "the disk is full; free some space and call again" in done.stdout and done.stdout.endswith("[]\n"), done
