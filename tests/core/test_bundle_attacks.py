"""Hostile archives: each is made, and each gets its own clear error."""

import io
import stat
import struct
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate import Bundle, BundleLimits
from fedgate.bundle import pack_files
from fedgate.errors import BundleTooLarge, InvalidBundle


def archive(
    *entries: tuple[str, bytes], mode: int = 0, compress: int = zipfile.ZIP_STORED
) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as zipped:
        for name, content in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename = info.orig_filename = name
            info.compress_type = compress
            info.external_attr = mode << 16
            zipped.writestr(info, content)
    return out.getvalue()


GOOD = archive(("a.py", b"x"), ("b/c.py", b"y" * 100), compress=zipfile.ZIP_DEFLATED)


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert data.count(old) == 2
    return data.replace(old, new)


@pytest.mark.parametrize("junk", [b"", b"PK", b"not a zip", bytes(1000), b"PK\5\6" + bytes(10)])
def test_something_that_is_no_zip_archive_is_refused(junk):
    with pytest.raises(InvalidBundle, match="not a readable ZIP archive"):
        Bundle.read(junk)


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "a/..", "..", ".", "./a", "a/./b", "a//b", "", "a/../b"]
)
def test_path_traversal_is_refused(name):
    with pytest.raises(InvalidBundle, match="traversal"):
        Bundle.read(archive((name, b"x")))


@pytest.mark.parametrize("name", ["/etc/passwd", "//host/share", "C:/evil", "c:evil"])
def test_absolute_paths_are_refused(name):
    with pytest.raises(InvalidBundle, match="absolute"):
        Bundle.read(archive((name, b"x")))


@pytest.mark.parametrize(
    "name",
    ["a\\b", "..\\evil", "a\nb", "a\x7fb", "a\x1b[2Jb", "txt.\u202eyp.exe", "a\u200bb", "\ufeffa"],
)
def test_names_that_do_not_show_what_they_are_are_refused(name):
    with pytest.raises(InvalidBundle, match="illegal name"):
        Bundle.read(archive((name, b"x")))


def test_a_name_with_nul_is_refused_instead_of_being_cut_there():
    data = renamed(archive(("good.py-evil", b"x")), b"good.py-evil", b"good.py\0evil")
    with pytest.raises(InvalidBundle, match="illegal name"):
        Bundle.read(data)


def test_symbolic_links_are_refused():
    with pytest.raises(InvalidBundle, match="symbolic links"):
        Bundle.read(archive(("link", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777))


@pytest.mark.parametrize(
    "kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR]
)
def test_special_files_are_refused(kind):
    with pytest.raises(InvalidBundle, match="special files"):
        Bundle.read(archive(("dev", b""), mode=kind | 0o644))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.py", "a.py"),
        ("a.py", "A.PY"),
        ("straße", "STRASSE"),
        ("d/a", "D/A"),
        ("\u00e9", "e\u0301"),
        ("a", "a/"),
    ],
)
def test_two_entries_that_some_file_system_takes_for_one_are_refused(one, other):
    with pytest.raises(InvalidBundle, match="duplicate"):
        Bundle.read(archive((one, b""), (other, b"")))


@pytest.mark.parametrize(("file", "below"), [("a", "a/b"), ("A", "a/b/c"), ("a/b", "a/B/c")])
def test_an_entry_that_is_both_file_and_folder_is_refused(file, below):
    for entries in ([(file, b""), (below, b"")], [(below, b""), (file, b"")]):
        with pytest.raises(InvalidBundle, match="both a file and a folder"):
            Bundle.read(archive(*entries))


def test_a_folder_that_hides_data_is_refused():
    with pytest.raises(InvalidBundle, match="folder in the bundle holds data"):
        Bundle.read(archive(("folder/", b"hidden")))


def test_encrypted_entries_are_refused():
    data = bytearray(archive(("a", b"x")))
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    with pytest.raises(InvalidBundle, match="encrypted"):
        Bundle.read(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_that_can_demand_any_amount_of_memory_is_refused(method):
    with pytest.raises(InvalidBundle, match="only stored and deflated"):
        Bundle.read(archive(("a", b"x" * 100), compress=method))


def test_an_empty_archive_is_no_workload():
    for data in (archive(), archive(("only-a-folder/", b""))):
        with pytest.raises(InvalidBundle, match="empty"):
            Bundle.read(data)


def test_an_archive_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(BundleTooLarge, match="too large"):
        Bundle.read(bytes(101), BundleLimits(archive_bytes=100))


def test_a_bomb_is_stopped_at_the_limit_and_not_unpacked():
    bomb = archive(("zeros", bytes(64 << 20)), compress=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 100_000
    limits = BundleLimits(file_bytes=1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(BundleTooLarge, match="bomb"):
            Bundle.read(bomb, limits)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_many_small_bombs_are_stopped_by_their_sum():
    bomb = archive(*((f"z{i}", bytes(1000)) for i in range(20)), compress=zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleTooLarge, match="bomb"):
        Bundle.read(bomb, BundleLimits(unpacked_bytes=10_000))


def test_entries_that_share_their_bytes_are_stopped_by_their_sum():
    """Fifield's overlapping bomb: many central entries point at one compressed kernel."""
    kernel = zlib.compress(bytes(1 << 20), 9)[2:-4]
    crc = zlib.crc32(bytes(1 << 20))
    fields = (20, 0, 8, 0, 33, crc, len(kernel), 1 << 20, 1, 0)
    local = struct.pack("<4s5H3I2H", b"PK\3\4", *fields) + b"a" + kernel
    central = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, *fields, 0, 0, 0, 0, 0) + b"a" for _ in range(50)
    )
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 50, 50, len(central), len(local), 0)
    with pytest.raises(InvalidBundle):
        Bundle.read(local + central + end, BundleLimits(unpacked_bytes=8 << 20))


def test_a_size_that_the_archive_understates_is_not_trusted():
    data = bytearray(archive(("a", bytes(5000)), compress=zipfile.ZIP_DEFLATED))
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = (1).to_bytes(4, "little")
    data[22:26] = (1).to_bytes(4, "little")
    with pytest.raises(InvalidBundle):
        Bundle.read(bytes(data))


def test_too_many_files_are_refused():
    many = archive(*((f"f{i}", b"") for i in range(11)))
    assert len(Bundle.read(many, BundleLimits(files=11)).tree) == 11
    with pytest.raises(BundleTooLarge, match="too many files"):
        Bundle.read(many, BundleLimits(files=10))


@pytest.mark.parametrize("comment", [b"", b"a comment"])
def test_a_million_directory_entries_are_refused_before_they_become_objects(comment):
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, *[0] * 14) + b""
    assert len(entry) == 46
    central = entry * 300_000
    # the end record says "1 entry": only the size of the directory counts for zipfile
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), 0, len(comment)) + comment
    data = central + end
    tracemalloc.start()
    try:
        with pytest.raises(BundleTooLarge, match="too many files"):
            Bundle.read(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_zip64_cannot_get_around_that_count():
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 46, 0, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 0, 1)
    with pytest.raises(InvalidBundle, match="ZIP64"):
        Bundle.read(bytes(100) + locator + end)


def test_a_file_that_holds_an_archive_is_no_reason_to_refuse():
    inner = archive(*((f"f{i}", b"") for i in range(20)))
    outer = archive(("inner.zip", inner), ("a", b""))
    assert len(Bundle.read(outer, BundleLimits(files=5)).tree) == 2


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "/".join("a" * 33)])
def test_a_path_too_long_or_too_deep_is_refused(name):
    with pytest.raises(InvalidBundle, match="too long or too deep"):
        Bundle.read(archive((name, b"")))


@pytest.mark.timeout(10)  # with quadratic work it takes minutes
def test_checking_thousands_of_deep_names_takes_no_time_worth_attacking():
    deep = "/".join("d" * 30)
    data = pack_files({f"{deep}/{i}": b"" for i in range(5000)})
    assert len(Bundle.read(data).tree) == 5000


def test_an_entry_whose_local_header_names_another_file_is_refused():
    data = bytearray(archive(("good.py", b"x")))
    data[30:37] = b"evil.py"
    with pytest.raises(InvalidBundle):
        Bundle.read(bytes(data))


def test_damaged_content_is_refused():
    data = bytearray(archive(("a", b"content")))
    data[data.index(b"content")] ^= 1
    with pytest.raises(InvalidBundle, match="CRC"):
        Bundle.read(bytes(data))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_archive_never_raises_anything_but_our_own_error(data):
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3) | st.integers(0, len(damaged)))
    try:
        tree = Bundle.read(bytes(damaged[: len(damaged) - cut])).tree
    except InvalidBundle:
        return
    for name in tree:
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert "\\" not in name
