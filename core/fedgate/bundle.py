"""A bundle: the workload as one immutable, content-addressed archive.

The digest of the archive's bytes is what people approve. Archives are read strictly: everything a
hostile ZIP can do is refused here, before any file is stored or written.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
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


def _read_members(
    zipped: zipfile.ZipFile, infos: list[zipfile.ZipInfo], limits: BundleLimits
) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    folders: set[str] = set()
    seen: set[str] = set()
    left = limits.unpacked_bytes
    for info in infos:
        name = _safe_name(info, limits)
        folded = name.casefold().rstrip("/")
        if folded in seen:
            raise InvalidBundle("duplicate entry in the bundle", why=repr(name))
        seen.add(folded)
        if info.is_dir():
            folders.add(folded)
            continue
        if info.flag_bits & 0x1:
            raise InvalidBundle("encrypted entries are not accepted", why=repr(name))
        bound = min(limits.file_bytes, left)
        with zipped.open(info) as stream:
            content = stream.read(bound + 1)  # never trust the declared size
        if len(content) > bound:
            raise BundleTooLarge(
                "the bundle unpacks to too much (a ZIP bomb?)",
                why=f"{name!r} alone or in sum exceeds {limits.unpacked_bytes} bytes",
            )
        left -= len(content)
        files[name] = content
    for name in files:
        for parent in PurePosixPath(name).parents:
            if str(parent).casefold() in seen - folders:
                raise InvalidBundle("a bundle entry is both a file and a folder", why=repr(name))
    if not files:
        raise InvalidBundle("the bundle is empty")
    return files


def _safe_name(info: zipfile.ZipInfo, limits: BundleLimits) -> str:
    name = info.orig_filename if hasattr(info, "orig_filename") else info.filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise InvalidBundle("symbolic links are not accepted in a bundle", why=repr(name))
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidBundle("special files are not accepted in a bundle", why=repr(name))
    if "\0" in name or "\\" in name or any(ord(c) < 32 for c in name):
        raise InvalidBundle("a bundle entry has an illegal name", why=repr(name))
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        raise InvalidBundle("a bundle entry has an absolute path", why=repr(name))
    parts = name.rstrip("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidBundle("a bundle entry leaves its folder (path traversal)", why=repr(name))
    if len(parts) > limits.depth or any(len(p.encode()) > limits.name_bytes for p in parts):
        raise InvalidBundle("a bundle entry's path is too long or too deep", why=repr(name[:80]))
    return name


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """A reproducible ZIP: sorted names, fixed times and modes, no compression differences."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zipped:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            zipped.writestr(info, files[name])
    return out.getvalue()


def read_directory(
    root: Path,
    *,
    keep: Callable[[PurePosixPath], bool] = lambda path: True,
    limits: BundleLimits | None = None,
) -> BundleTree:
    """The files of a directory; refuses symbolic links and stops at the limits."""
    limits = limits or BundleLimits()
    files: dict[str, bytes] = {}
    left = limits.unpacked_bytes
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(d for d in subfolders if d not in IGNORED_DIRS)
        for name in sorted(names):
            path = Path(folder, name)
            relative = PurePosixPath(path.relative_to(root).as_posix())
            if name.endswith(".pyc") or not keep(relative):
                continue
            if path.is_symlink() or not path.is_file():
                raise InvalidBundle(
                    "only plain files can be part of a workload",
                    why=f"{relative} is a link or a special file",
                )
            left -= path.stat().st_size
            if left < 0 or len(files) >= limits.files:
                raise BundleTooLarge(
                    "the directory is too large to be a workload",
                    why=f"more than {limits.unpacked_bytes} bytes or {limits.files} files",
                    remedy="keep data and virtual environments outside of it",
                )
            files[str(relative)] = path.read_bytes()
    if not files:
        raise InvalidBundle("the directory holds no files", why=str(root))
    return BundleTree(files)


def pack_directory(root: Path) -> bytes:
    return pack_files(read_directory(root).files)
