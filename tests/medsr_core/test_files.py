"""Files that are written whole or not at all, and refusals that name the user's file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medsr_core import files


def entries(folder):
    return sorted(os.listdir(folder))


def test_a_link_stays_a_link_and_its_target_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old.txt").write_text("old")
    for target in ("old.txt", "new.txt"):  # the second does not exist yet
        link = tmp_path / f"to_{target}"
        link.symlink_to(Path("there") / target)
        files.write_whole(link, "new")
        assert link.is_symlink() and (tmp_path / "there" / target).read_text() == "new"
    assert entries(tmp_path / "there") == ["new.txt", "old.txt"]


def test_a_read_only_file_is_refused_and_stays(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o444)
    for write in (files.check_writable, lambda path: files.write_whole(path, "new")):
        with pytest.raises(PermissionError, match=r"a\.txt is read-only and stays as it is; name another file"):
            write(path)
    assert path.read_text() == "old" and entries(tmp_path) == ["a.txt"]


def test_places_that_take_no_file_are_named_as_the_user_named_them(tmp_path):
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file" / "a.txt", tmp_path / ("n" * 300)):
        for write in (files.check_writable, lambda path: files.write_whole(path, "new")):
            with pytest.raises(OSError) as refused:
                write(place)
            assert str(refused.value).startswith(f"{place}: ") and "Errno" not in str(refused.value)
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        files.check_writable(tmp_path)
    assert entries(tmp_path) == ["file"]


def test_an_error_about_another_file_is_passed_on(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), files.whole(tmp_path / "a.txt"):
        Path("/elsewhere/b.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.dcm", "a.nii", "a.nii.gz", "a.hdr", "a.jpg", "a.bmp"])
def test_a_limit_on_the_size_is_one_line_with_the_users_file(tmp_path, name):
    code = (
        "import resource, sys, torch; from medsr_core.images import write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write(sys.argv[1], torch.rand(1, 1, 99, 99))\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / name], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path / name}: too large for this disk or account; name another place\n"
    assert entries(tmp_path) == []


def test_names_in_another_coding_come_back_from_json(tmp_path):
    name = os.fsdecode(b"M\xfcller")
    files.write_whole(tmp_path / "a.json", json.dumps({"data": name}, ensure_ascii=False))
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"data": name}
