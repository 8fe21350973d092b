"""The whole log as one file that verifies without the gateway.

JSON lines, each canonical: a header ``{format, key, origin, size}``; for every entry ``{entry,
leaf, position}``; at the end ``{checkpoint}``, the signed note over all of them.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import BinaryIO

from fedgate.errors import Unavailable
from fedgate_gateway.audit.entry import canonical_json
from fedgate_gateway.audit.log import MAX_PAGE, AuditLog, LoggedEntry
from fedgate_gateway.audit.note import Checkpoint, VerifierKey

FORMAT = "fedgate-audit-log/1"


def export(log: AuditLog, path: Path) -> Checkpoint:
    """Sign the log as it stands and write it to ``path``, whole or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with draft.open("xb") as file:
            checkpoint = write(log, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise Unavailable(f"cannot write the audit log to {path}", why=str(error)) from error
    finally:
        draft.unlink(missing_ok=True)
    return checkpoint


def write(log: AuditLog, out: BinaryIO) -> Checkpoint:
    """Sign the log as it stands and write it; entries that are appended meanwhile stay out."""
    note = log.checkpoint()
    checkpoint = Checkpoint.open(note, log.verifier)
    out.write(canonical_json(header(log.verifier, checkpoint.size)) + b"\n")
    for start in range(0, checkpoint.size, MAX_PAGE):
        page = log.entries(start, min(MAX_PAGE, checkpoint.size - start))
        out.writelines(_line(found) for found in page)
    out.write(canonical_json({"checkpoint": note}) + b"\n")
    return checkpoint


def header(key: VerifierKey, size: int) -> dict[str, str | int]:
    """The one header that an export of this log may have."""
    return {"format": FORMAT, "key": str(key), "origin": key.name, "size": size}


def _line(found: LoggedEntry) -> bytes:
    # Keys in their canonical order around bytes that are canonical already.
    entry, leaf = found.entry.encode(), found.leaf_hash.hex().encode()
    return b'{"entry":%b,"leaf":"%b","position":%d}\n' % (entry, leaf, found.position)
