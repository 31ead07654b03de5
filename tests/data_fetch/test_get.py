"""Getting a set over HTTP: right in the end whatever the server does, and never half."""

from __future__ import annotations

import errno
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import data_fetch
from data_fetch import acquire, download, layouts, parts, store
from data_fetch.catalogue import SOURCES
from data_fetch.sets import DataError
from tests.data_fetch.official import chase, picture, stare, tarred, zipped

BIG = random.Random(0).randbytes(3_000_000)


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def fetch(server, tmp_path: Path, *, digest: str | None = sha256(BIG), **options) -> Path:
    server.files["/big.bin"] = BIG
    target = tmp_path / "big.bin"
    assert download.download([f"{server.url}/big.bin"], target, digest=digest, **options) == sha256(BIG)
    assert target.read_bytes() == BIG and list(tmp_path.glob("*.part*")) == []
    return target


# --- one file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_arrives_and_progress_reaches_its_size(server, folder, tmp_path, ranges, lengths):
    server.ranges, server.lengths = ranges, lengths
    seen = []
    fetch(server, tmp_path, progress=lambda *report: seen.append(report))
    assert seen[-1] == ("big.bin", len(BIG), len(BIG) if lengths else None)


@pytest.mark.parametrize("tags", [True, False])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_cut_off_at_random_bytes_it_goes_on_where_it_was(server, folder, tmp_path, seed, known, tags):
    draw = random.Random(seed)
    server.cut, server.tags = (lambda: draw.randrange(900_000)), tags
    fetch(server, tmp_path, digest=sha256(BIG) if known else None)
    assert len(server.asked) > 3 and server.sent < 1.05 * len(BIG), "nothing was sent twice"


@pytest.mark.parametrize("lengths", [True, False])
def test_without_ranges_it_starts_over_until_it_comes_whole(server, folder, tmp_path, lengths):
    cuts = iter([10_000, 2_000_000, 500_000])
    server.ranges, server.lengths, server.cut = False, lengths, lambda: next(cuts, len(BIG))
    fetch(server, tmp_path, digest=None)
    assert len(server.asked) == 4


def test_a_slow_server_is_waited_for_and_a_stalled_one_asked_again(server, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", (1, 0.15))
    server.pause = 0.001
    fetch(server, tmp_path)
    assert len(server.asked) == 1
    (tmp_path / "big.bin").unlink()
    waits = iter([0.5])
    original = server.cut
    server.cut = lambda: (server.__setattr__("pause", next(waits, 0.0)), original or len(BIG))[1]
    fetch(server, tmp_path)
    assert len(server.asked) > 2


def test_busy_servers_are_asked_again_as_late_as_they_say(server, folder, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(download.time, "sleep", slept.append)
    server.answers = [(503, {"Retry-After": "7"}, b"busy"), (429, {}, b"slow down"), (500, {}, b"oops")]
    fetch(server, tmp_path)
    assert slept == [7, download.PAUSE * 2, download.PAUSE * 4]


def test_a_download_goes_on_in_the_next_call(server, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    cuts = iter([1_000_000])
    server.cut = lambda: next(cuts, 0)
    server.files["/big.bin"] = BIG
    with pytest.raises(DataError, match=r"cut off after|connection broke"):
        download.download([f"{server.url}/big.bin"], tmp_path / "big.bin", digest=sha256(BIG))
    assert (tmp_path / "big.bin.part").stat().st_size == 1_000_000 and not (tmp_path / "big.bin").exists()
    server.cut, server.sent = None, 0
    fetch(server, tmp_path)
    assert server.sent == 2_000_000


def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(server, folder, tmp_path):
    other = BIG[::-1]
    for known, tags in ((None, True), (sha256(BIG), True), (sha256(BIG), False)):
        (tmp_path / "big.bin").unlink(missing_ok=True)
        server.tags = tags
        sink = download._Sink(tmp_path / "big.bin", "sha256")
        for begin in range(0, 1_000_000, 250_000):
            sink.write(memoryview(other[begin : begin + 250_000]))
        sink.remember({"url": f"{server.url}/big.bin", "validator": '"old"' if tags else None, "total": len(BIG)})
        sink.close()
        fetch(server, tmp_path, digest=known)


def test_a_part_that_is_whole_or_longer_than_the_file(server, folder, tmp_path):
    for content in (BIG, BIG + b"more"):
        (tmp_path / "big.bin").unlink(missing_ok=True)
        (tmp_path / "big.bin.part").write_bytes(content)
        fetch(server, tmp_path)


def test_mirrors_step_in_and_each_failure_is_named(server, folder, tmp_path):
    server.files |= {"/big.bin": BIG, "/wrong.bin": BIG[:-1] + b"?"}
    urls = [f"{server.url}/{path}" for path in ("gone.bin", "wrong.bin", "big.bin")]
    assert download.download(urls, tmp_path / "big.bin", digest=sha256(BIG)) == sha256(BIG)
    with pytest.raises(DataError, match=r"gone.bin: HTTP 404.*wrong.bin: sends another file than it should") as caught:
        download.download(urls[:2], tmp_path / "other.bin", digest=sha256(BIG))
    assert "\n" not in str(caught.value) and not (tmp_path / "other.bin").exists()


def test_a_web_page_in_place_of_an_archive_is_recognised_and_named(server, folder, tmp_path):
    page = b"\n<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
    server.files["/login"] = page
    for answer in ((302, {"Location": "/login"}, b""), (200, {"Content-Type": "text/html"}, page)):
        server.answers = [answer]
        with pytest.raises(DataError, match=r"a web page titled 'Sign in' in place of all.zip: a login"):
            download.download([f"{server.url}/all.zip"], tmp_path / "all.zip")
    server.files["/all.zip"] = b"not a zip at all"
    with pytest.raises(DataError, match="no zip archive"):
        download.download([f"{server.url}/all.zip"], tmp_path / "all.zip")
    assert not list(tmp_path.glob("all.zip"))


def test_nobody_there(folder, tmp_path):
    with pytest.raises(DataError, match="no connection"):
        download.download(["http://127.0.0.1:9/a.zip"], tmp_path / "a.zip")


def test_the_disk_is_looked_at_before_and_kept_clean_when_it_fills(server, folder, tmp_path, monkeypatch):
    server.files["/big.bin"] = BIG
    with pytest.raises(DataError, match=r"are needed.*--data-dir"):
        download.download([f"{server.url}/big.bin"], tmp_path / "big.bin", room=10**16)
    assert (tmp_path / "big.bin.part").stat().st_size == 0
    resource = pytest.importorskip("resource", reason="limits of file size are a POSIX thing")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, old[1]))
    try:
        with pytest.raises(DataError, match=r"the disk is full; .*1.5 MB of the download are kept") as caught:
            download.download([f"{server.url}/big.bin"], tmp_path / "big.bin", digest=sha256(BIG))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert caught.value.__cause__.errno == errno.EFBIG
    server.sent = 0
    fetch(server, tmp_path)
    assert server.sent == len(BIG) - 1_500_000


# --- a set ----------------------------------------------------------------------------------------------------------

NAMES = tuple(f"im{number:04d}" for number in range(1, 7))


def test_get_unpacks_records_and_splits(server, folder, offer):
    offer("stare", stare(), expected=NAMES)
    assert parts.status(SOURCES["stare"]) == ""
    said: list[str] = []
    acquire.get(["stare"], accept=True, say=said.append)
    assert said == [f"stare: 6 images, in {folder / 'stare'}"]
    assert sorted(path.name for path in (folder / "stare").iterdir()) == [
        ".lock", "all-images", "download", "labels-ah", "record.json",
    ]  # fmt: skip
    assert not list((folder / "stare" / "download").iterdir()), "the archives are not kept"
    assert len(data_fetch.load("stare", split="all")) == 6 and len(data_fetch.masks("stare", split="all")) == 2
    split = json.loads((folder / "splits" / "stare.json").read_text())
    assert sorted(name for subjects in split["subjects"].values() for name in subjects) == list(NAMES)

    server.asked.clear()
    acquire.get(["stare"], say=said.append)
    assert not server.asked and "stare is here: 6 images" in said[-1], "got once, accepted once"


def test_terms_are_accepted_before_anything_is_asked_of_a_server(server, folder, offer):
    source = offer("stare", stare(), expected=NAMES)
    with pytest.raises(DataError, match=r"terms are not accepted yet: .*--accept"):
        acquire.get(["stare"])
    assert not server.asked
    acquire.get(["stare"], accept=True)
    assert store.accepted("stare") == source.terms


def test_what_needs_an_account_says_how_and_unknown_names_list_the_known(folder):
    with pytest.raises(DataError, match=r"without an account: .*grand-challenge.*medsr data import drive"):
        acquire.get(["drive"], accept=True)
    with pytest.raises(DataError, match=r"no set to fetch.*drive, stare"):
        acquire.get(["nothing"], accept=True)
    with pytest.raises(DataError, match="is here already"):
        acquire.get(["brain"], accept=True)


def test_several_sets_at_once_and_one_that_fails_does_not_stop_the_others(server, folder, offer):
    offer("stare", stare(), expected=NAMES)
    offer("chase", {"CHASEDB1.zip": chase()})
    offer("isic", {"isic.zip": zipped({"notes.txt": b"no images"})}, expected=1)
    with pytest.raises(DataError, match=r"^isic: isic.zip is not the archive it should be: it has notes.txt"):
        acquire.get(["isic", "stare", "chase"], accept=True)
    assert [parts.status(SOURCES[name]) for name in ("isic", "stare", "chase")] == ["", "6 images", "28 images"]


def test_an_archive_that_lacks_images_is_not_taken(server, folder, offer):
    files = stare(4)
    offer("stare", files, expected=NAMES)
    with pytest.raises(DataError, match="it lacks im0005, im0006"):
        acquire.get(["stare"], accept=True)
    assert parts.status(SOURCES["stare"]) == "" and not (folder / "stare" / "all-images").exists()


def test_the_first_digest_is_pinned_where_none_is_known(server, folder, offer):
    offer("chase", {"CHASEDB1.zip": chase()}, digests=False)
    acquire.get(["chase"], accept=True)
    first = json.loads((folder / "pins.json").read_text())["chase/CHASEDB1.zip"][0]
    assert first == sha256(server.files["/CHASEDB1.zip"])
    store.forget("chase", "CHASEDB1")
    server.files["/CHASEDB1.zip"] += b"\0"
    with pytest.raises(DataError, match=rf"instead of {first}.*pins.json.*medsr data import chase FILE"):
        acquire.get(["chase"])
    assert parts.status(SOURCES["chase"]) == ""


def test_a_wrong_archive_is_not_pinned_and_not_kept(server, folder, offer):
    good = chase()
    offer("chase", {"CHASEDB1.zip": good}, digests=False)
    for bad, words in ((zipped({"a.txt": b"a"}), "not the archive"), (good[:-4000], "damaged|neither")):
        server.files["/CHASEDB1.zip"] = bad
        with pytest.raises(DataError, match=words):
            acquire.get(["chase"], accept=True)
    server.files["/CHASEDB1.zip"] = good
    acquire.get(["chase"])
    assert store.pin("chase/CHASEDB1.zip") == sha256(good)


def test_files_that_go_missing_or_change_are_noticed(server, folder, offer):
    offer("stare", stare(), expected=NAMES)
    acquire.get(["stare"], accept=True)
    assert parts.check("stare") == []
    image = folder / "stare" / "all-images" / "im0003.ppm"
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert parts.check("stare") == [f"{image} is not as it came"]
    assert parts.status(SOURCES["stare"]) == ""
    acquire.get(["stare"])
    assert parts.check("stare") == [] and image.read_bytes() == content
    image.unlink()
    assert parts.status(SOURCES["stare"]) == "damaged: get or import it again"
    with pytest.raises(DataError, match="missing or changed; again: medsr data get stare"):
        data_fetch.load("stare")
    assert parts.check("stare") == [f"{image} is missing"]


# --- some of a set --------------------------------------------------------------------------------------------------


def isic(count: int = 40) -> dict[str, bytes]:
    return {f"ISIC2018/ISIC_{n:07d}.jpg": picture("JPEG", (64, 80, 3), n) for n in range(count)}


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_limit_transfers_only_some_images(server, folder, offer, pack: Callable[..., bytes]):
    filler = {"ISIC2018/LICENSE.txt": random.Random(1).randbytes(3_000_000)}
    name = "isic.zip" if pack is zipped else "isic.tar"
    offer("isic", {name: pack(isic() | filler)}, expected=40)
    acquire.get(["isic"], accept=True, limit=8)
    assert server.sent < 1_500_000 < len(server.files[f"/{name}"])
    scans = data_fetch.load("isic", split="all")
    assert [scan.name for scan in scans] == [f"ISIC_{n:07d}" for n in range(2, 40, 5)]
    assert parts.status(SOURCES["isic"]) == "8 of 40 images" and parts.check("isic") == []
    for path in sorted((folder / "isic" / "isic").rglob("*.jpg")):
        assert path.read_bytes() == isic()[f"ISIC2018/{path.name}"]

    server.asked.clear()
    acquire.get(["isic"], limit=5)
    assert not server.asked, "more than these are here"
    acquire.get(["isic"])
    assert parts.status(SOURCES["isic"]) == "40 images"


def test_a_limit_at_a_server_without_ranges_fetches_all_and_unpacks_some(server, folder, offer):
    offer("isic", {"isic.zip": zipped(isic())}, expected=40)
    server.ranges = False
    said: list[str] = []
    acquire.get(["isic"], accept=True, limit=8, say=said.append)
    assert "the server sends only whole files" in said[0]
    assert [scan.name for scan in data_fetch.load("isic", split="all")] == [f"ISIC_{n:07d}" for n in range(2, 40, 5)]


def test_a_limit_survives_broken_connections(server, folder, offer):
    offer("isic", {"isic.zip": zipped(isic())}, expected=40)
    draw = random.Random(5)
    server.cut = lambda: 3000 if draw.random() < 0.3 else 10**9
    acquire.get(["isic"], accept=True, limit=8)
    assert parts.status(SOURCES["isic"]) == "8 of 40 images" and parts.check("isic") == []


def test_splits_are_by_subject_stable_and_the_same_in_a_part_of_the_set(server, folder, offer):
    source = offer("isic", {"isic.zip": zipped(isic())}, expected=40)
    files = [(Path(name), name, 1) for name in isic()]
    whole = layouts.splits(source, layouts.images_in(source, files))
    some = layouts.splits(source, layouts.images_in(source, files[::2]))
    assert all(set(some[split]) <= set(whole[split]) for split in whole)
    assert sum(map(len, whole.values())) == len(set().union(*whole.values())) == 40
    assert np.all([len(whole["test"]) > 1, len(whole["validation"]) > 1, len(whole["train"]) > 20])
