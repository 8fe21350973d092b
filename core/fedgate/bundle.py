"""A bundle: the workload as one immutable, content-addressed archive.

The digest of the archive's bytes is what people approve. Archives are read strictly: everything a
hostile ZIP can do is refused here, before any file is stored or written.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedgate.errors import BundleTooLarge, InvalidBundle

KIB, MIB = 1024, 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)
#: Never part of a workload, whatever the framework.
IGNORED_DIRS = frozenset({".git", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache"})


@dataclass(frozen=True)
class BundleLimits:
    archive_bytes: int = 64 * MIB
    unpacked_bytes: int = 256 * MIB
    file_bytes: int = 64 * MIB
    files: int = 5000
    depth: int = 32
    name_bytes: int = 255


@dataclass(frozen=True)
class BundleTree(Mapping[str, bytes]):
    """A workload's files in memory: POSIX path relative to its root -> content."""

    files: Mapping[str, bytes]

    def __getitem__(self, path: str) -> bytes:
        return self.files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def text(self, path: str) -> str:
        try:
            return self.files[path].decode("utf-8")
        except KeyError:
            raise InvalidBundle(f"the bundle has no file {path!r}") from None
        except UnicodeDecodeError as error:
            raise InvalidBundle(f"{path!r} is not UTF-8 text", why=str(error)) from None

    def sub(self, prefix: str) -> BundleTree:
        """The files below a folder, with paths relative to it."""
        lead = prefix.rstrip("/") + "/"
        return BundleTree({p[len(lead) :]: c for p, c in self.files.items() if p.startswith(lead)})

    def write_to(self, root: Path) -> None:
        """Lay the files out below ``root`` (read-only); paths were checked when it was read."""
        for path, content in self.files.items():
            target = root.joinpath(*path.split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o444)


def digest_of(archive: bytes) -> str:
    return "sha256:" + hashlib.sha256(archive).hexdigest()


@dataclass(frozen=True)
class Bundle:
    digest: str
    size: int
    tree: BundleTree

    @classmethod
    def read(cls, archive: bytes, limits: BundleLimits | None = None) -> Bundle:
        """Read and check an archive; raises :class:`InvalidBundle` saying what is wrong with it."""
        limits = limits or BundleLimits()
        if len(archive) > limits.archive_bytes:
            raise BundleTooLarge(
                "the bundle is too large",
                why=f"{len(archive)} bytes, the limit is {limits.archive_bytes}",
                remedy="leave data and models out of the workload, or raise limits.bundle_bytes",
            )
        return cls(digest_of(archive), len(archive), _read_zip(archive, limits))


def _read_zip(archive: bytes, limits: BundleLimits) -> BundleTree:
    try:
        _check_entry_count(archive, limits)
        with zipfile.ZipFile(io.BytesIO(archive)) as zipped:
            infos = zipped.infolist()
            if len(infos) > limits.files:
                raise BundleTooLarge(
                    "too many files in the bundle", why=f"{len(infos)}, the limit is {limits.files}"
                )
            return BundleTree(_read_members(zipped, infos, limits))
    except InvalidBundle:
        raise
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, RuntimeError) as error:
        raise InvalidBundle(
            "the bundle is not a readable ZIP archive",
            why=str(error),
            remedy="submit a directory, a FAB or a ZIP file",
        ) from error
    except Exception as error:  # zlib.error, EOFError, struct.error: whatever damage provokes
        raise InvalidBundle("the bundle's ZIP archive is damaged", why=repr(error)) from error


def _check_entry_count(archive: bytes, limits: BundleLimits) -> None:
    """Refuse a central directory of millions of entries before zipfile makes objects of them.

    Finds the end record as zipfile does (APPNOTE.TXT 4.3.16): the last 22 bytes, or the last
    signature where a comment may stand.
    """
    end = len(archive) - 22
    if end < 0 or archive[end : end + 4] != b"PK\5\6" or archive[-2:] != b"\0\0":
        end = archive.rfind(b"PK\5\6", max(0, end - 65535))
    if end < 0:
        return  # zipfile says what is wrong
    if archive[max(0, end - 20) : end].startswith(b"PK\6\7"):
        raise InvalidBundle("ZIP64 archives are not accepted", remedy="submit a smaller archive")
    size = int.from_bytes(archive[end + 12 : end + 16], "little")
    if archive.count(b"PK\1\2", max(0, end - size), end) > limits.files:
        raise BundleTooLarge("too many files in the bundle", why=f"the limit is {limits.files}")


def _read_members(
    zipped: zipfile.ZipFile, infos: list[zipfile.ZipInfo], limits: BundleLimits
) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    seen: set[str] = set()
    left = limits.unpacked_bytes
    for info in infos:
        name = _safe_name(info, limits)
        folded = _folded(name)
        if folded in seen:
            raise InvalidBundle("duplicate entry in the bundle", why=repr(name))
        seen.add(folded)
        if name.endswith("/"):
            if info.file_size:
                raise InvalidBundle("a folder in the bundle holds data", why=repr(name))
            continue
        content = _read_member(zipped, info, min(limits.file_bytes, left))
        left -= len(content)
        files[name] = content
    taken = {_folded(name) for name in files}
    for name in files:
        for parent in PurePosixPath(name).parents:
            if _folded(str(parent)) in taken:
                raise InvalidBundle("a bundle entry is both a file and a folder", why=repr(name))
    if not files:
        raise InvalidBundle("the bundle is empty")
    return files


def _read_member(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, bound: int) -> bytes:
    name = info.orig_filename
    if info.flag_bits & 0x1:
        raise InvalidBundle("encrypted entries are not accepted", why=repr(name))
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # LZMA alone may ask for gigabytes of dictionary
        raise InvalidBundle("only stored and deflated entries are accepted", why=repr(name))
    with zipped.open(info) as stream:
        content = stream.read(bound + 1)  # never trust the declared size
    if len(content) > bound:
        raise BundleTooLarge(
            "the bundle unpacks to too much (a ZIP bomb?)",
            why=f"{name!r} is larger than the {bound} bytes that are left for it",
        )
    return content


def _folded(name: str) -> str:
    """Names that some file system takes for the same one fold to the same string."""
    return unicodedata.normalize("NFC", name.rstrip("/")).casefold()


def _safe_name(info: zipfile.ZipInfo, limits: BundleLimits) -> str:
    name = info.orig_filename  # ``filename`` is cut at NUL, and may come from an extra field
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise InvalidBundle("symbolic links are not accepted in a bundle", why=repr(name))
    if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):
        raise InvalidBundle("special files are not accepted in a bundle", why=repr(name))
    check_name(name, limits)
    return name


def check_name(name: str, limits: BundleLimits) -> None:
    """Refuse any path that is not plainly below the workload's root.

    Also what does not print: people approve what a listing shows, and a bidirectional override
    shows them another name.
    """
    if "\\" in name or not name.isprintable():
        raise InvalidBundle("a bundle entry has an illegal name", why=ascii(name[:255]))
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        raise InvalidBundle("a bundle entry has an absolute path", why=repr(name))
    parts = name.rstrip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidBundle("a bundle entry leaves its folder (path traversal)", why=repr(name))
    if len(parts) > limits.depth or any(len(p.encode()) > limits.name_bytes for p in parts):
        raise InvalidBundle("a bundle entry's path is too long or too deep", why=repr(name[:80]))


def portable(names: Iterable[str], limits: BundleLimits | None = None) -> list[str]:
    """Of these names those that can stand in one archive; of those that clash the first."""
    limits = limits or BundleLimits()
    files: set[str] = set()
    folders: set[str] = set()
    found = []
    for name in names:
        above = {_folded(str(p)) for p in PurePosixPath(name).parents} - {"."}
        try:
            check_name(name, limits)
        except InvalidBundle:
            continue
        folded = _folded(name)
        if folded not in files and folded not in folders and not above & files:
            files.add(folded)
            folders |= above
            found.append(name)
    return found


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """A reproducible ZIP: sorted names, fixed times, modes and system, zlib's level 6."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zipped:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3  # Unix, also where Windows packs
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            zipped.writestr(info, files[name])
    return out.getvalue()


def read_directory(
    root: Path,
    *,
    keep: Callable[[PurePosixPath], bool] = lambda _: True,
    limits: BundleLimits | None = None,
) -> BundleTree:
    """The files of a directory; refuses symbolic links and stops at the limits.

    Raises :class:`InvalidBundle` where a name could not stand in a bundle or a file cannot be read.
    """
    limits = limits or BundleLimits()
    files: dict[str, bytes] = {}
    left = limits.unpacked_bytes
    try:
        for path, size in _walk(root, keep):
            relative = path.relative_to(root).as_posix()
            check_name(relative, limits)
            left -= size
            if left < 0 or size > limits.file_bytes or len(files) >= limits.files:
                raise BundleTooLarge(
                    "the directory is too large to be a workload",
                    why=f"{relative}: more than {limits.unpacked_bytes} bytes, "
                    f"{limits.file_bytes} in one file, or {limits.files} files",
                    remedy="keep data and virtual environments outside of it",
                )
            files[relative] = path.read_bytes()
    except OSError as error:
        raise InvalidBundle("the directory cannot be read", why=str(error)) from error
    if not files:
        raise InvalidBundle("the directory holds no files", why=str(root))
    return BundleTree(files)


def _walk(root: Path, keep: Callable[[PurePosixPath], bool]) -> Iterator[tuple[Path, int]]:
    """Plain files and their sizes, in a stable order; ``OSError`` for what cannot be seen."""

    def fail(error: OSError) -> None:
        raise error

    for folder, subfolders, names in os.walk(root, onerror=fail):
        subfolders[:] = sorted(d for d in subfolders if d not in IGNORED_DIRS)
        links = [d for d in subfolders if Path(folder, d).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(folder, name)
            if name.endswith(".pyc") or not keep(PurePosixPath(path.relative_to(root).as_posix())):
                continue
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise InvalidBundle(
                    "only plain files can be part of a workload",
                    why=f"{path.relative_to(root)} is a link or a special file",
                )
            yield path, status.st_size


def pack_directory(root: Path) -> bytes:
    return pack_files(read_directory(root).files)
