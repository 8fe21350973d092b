"""Bundles: content-addressed, reproducible, and read whole or not at all."""

import io
import os
import stat
import time
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate import Bundle, BundleLimits
from fedgate.bundle import digest_of, pack_directory, pack_files, read_directory
from fedgate.errors import BundleTooLarge, InvalidBundle

FILES = {"pyproject.toml": b"[project]\n", "app/server.py": b"x = 1\n", "app/deep/er.py": b""}
part = st.text(st.sampled_from("abcXYZ019-_. é"), min_size=1, max_size=6).filter(
    lambda p: p not in (".", "..") and p.strip()
)
paths = st.lists(part, min_size=1, max_size=4).map("/".join)


@settings(deadline=None)
@given(st.dictionaries(paths, st.binary(max_size=50), min_size=1, max_size=6))
def test_packed_files_come_back_or_are_refused_for_a_clash_of_names(files):
    folded = {name.casefold() for name in files}
    parents = {
        "/".join(n.split("/")[:i]).casefold() for n in files for i in range(1, n.count("/") + 1)
    }
    clash = len(folded) < len(files) or folded & parents
    if clash:
        with pytest.raises(InvalidBundle):
            Bundle.read(pack_files(files))
    else:
        assert dict(Bundle.read(pack_files(files)).tree) == files


def test_the_digest_is_that_of_the_archives_bytes():
    archive = pack_files(FILES)
    bundle = Bundle.read(archive)
    assert bundle.digest == digest_of(archive)
    assert bundle.digest.startswith("sha256:")
    assert (len(bundle.digest), bundle.size) == (71, len(archive))


def test_packing_is_reproducible_whatever_the_order_of_files_the_time_and_the_umask(tmp_path):
    archives = set()
    for number, order in enumerate((list(FILES), list(reversed(FILES)))):
        root = tmp_path / str(number)
        old = os.umask(0o077 if number else 0o022)
        try:
            for name in order:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(FILES[name])
                os.utime(root / name, (number * 1e6, number * 1e6))
        finally:
            os.umask(old)
        archives.add(pack_directory(root))
    assert archives == {pack_files(FILES)}


def test_the_time_zone_does_not_matter(monkeypatch):
    before = pack_files(FILES)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert pack_files(FILES) == before
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_directory_is_read_without_caches_and_version_control(tmp_path):
    for name in ("a.py", "a.pyc", ".git/HEAD", "__pycache__/x", ".venv/lib/x", "sub/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert sorted(read_directory(tmp_path)) == ["a.py", "sub/b.py"]
    assert sorted(read_directory(tmp_path, keep=lambda p: p.parts[0] != "sub")) == ["a.py"]


@pytest.mark.parametrize("what", ["file", "folder", "dangling"])
def test_links_in_a_directory_are_refused_and_never_followed(tmp_path, what):
    secret = tmp_path / "secret"
    if what == "file":
        secret.write_bytes(b"key")
    elif what == "folder":
        secret.mkdir()
    root = tmp_path / "app"
    root.mkdir()
    (root / "a.py").write_bytes(b"")
    (root / "link").symlink_to(secret)
    with pytest.raises(InvalidBundle, match="only plain files"):
        read_directory(root)
    assert list(read_directory(root, keep=lambda p: p.name != "link")) == ["a.py"]


def test_a_pipe_in_a_directory_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidBundle, match="special file"):
        read_directory(tmp_path)


@pytest.mark.parametrize(
    ("limits", "files"),
    [
        (BundleLimits(files=2), {"a": b"", "b": b"", "c": b""}),
        (BundleLimits(unpacked_bytes=10), {"a": bytes(6), "b": bytes(6)}),
        (BundleLimits(file_bytes=10), {"a": bytes(11)}),
    ],
)
def test_a_directory_beyond_the_limits_is_refused(tmp_path, limits, files):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BundleTooLarge):
        read_directory(tmp_path, limits=limits)


@pytest.mark.parametrize("name", [b"new\nline", b"\xff\xfe", b"back\\slash"])
def test_a_file_whose_name_could_not_stand_in_a_bundle_is_refused(tmp_path, name):
    with open(os.path.join(os.fsencode(tmp_path), name), "wb"):  # noqa: PTH118, PTH123
        pass
    with pytest.raises(InvalidBundle, match="illegal name"):
        read_directory(tmp_path)


def test_an_empty_or_missing_directory_is_no_workload(tmp_path):
    with pytest.raises(InvalidBundle, match="no files"):
        read_directory(tmp_path)
    with pytest.raises(InvalidBundle, match="cannot be read"):
        read_directory(tmp_path / "none")


def test_a_tree_is_laid_out_read_only(tmp_path):
    Bundle.read(pack_files(FILES)).tree.write_to(tmp_path)
    for name, content in FILES.items():
        assert (tmp_path / name).read_bytes() == content
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o444


def test_a_sub_tree_has_paths_relative_to_its_folder():
    tree = Bundle.read(pack_files(FILES)).tree
    assert dict(tree.sub("app")) == {"server.py": b"x = 1\n", "deep/er.py": b""}
    assert dict(tree.sub("app/")) == dict(tree.sub("app"))
    assert not tree.sub("ap")


def test_text_of_a_file_that_is_missing_or_no_text_says_so():
    tree = Bundle.read(pack_files({"a": b"\xff", "b": "ä".encode()})).tree
    assert tree.text("b") == "ä"
    with pytest.raises(InvalidBundle, match="not UTF-8"):
        tree.text("a")
    with pytest.raises(InvalidBundle, match="has no file"):
        tree.text("c")


def test_archives_of_ordinary_tools_are_read():
    """Folder entries, stored entries, an archive comment (git archive writes one)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        zipped.mkdir("app")
        zipped.writestr("app/a.py", b"stored")
        zipped.writestr("app/b.py", b"deflated" * 99, zipfile.ZIP_DEFLATED)
        zipped.comment = b"0123456789abcdef" * 3
    assert sorted(Bundle.read(out.getvalue()).tree) == ["app/a.py", "app/b.py"]
