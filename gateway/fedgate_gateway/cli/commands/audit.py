"""`fedgate audit`: what happened, and proof that nobody rewrote it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import FormatOption, ProfileOption
from fedgate_gateway.cli.output import Format

if TYPE_CHECKING:
    from fedgate_gateway.audit.verify import Report

app = typer.Typer(
    name="audit", help="What happened, and proof that nobody rewrote it.", no_args_is_help=True
)
#: The last checkpoint that verified, kept beside the profile: history before it cannot change.
CHECKPOINT_FILE = "audit-checkpoint"


@app.command()
def show(
    job: Annotated[str | None, typer.Option(help="Only entries of this job.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, as `job.transition`.")] = None,
    start: Annotated[int, typer.Option(min=0, help="Position of the first entry.")] = 0,
    limit: Annotated[int, typer.Option(min=1)] = 200,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Entries of the gateway's audit log, oldest first."""
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile

    entries: list[dict[str, Any]] = []
    following: int | None = start
    with Client(load_profile(profile)) as client:
        while following is not None and len(entries) < limit:
            page = client.audit_entries(
                start=following, limit=min(limit - len(entries), 500), job=job, kind=kind
            )
            entries += page["entries"]
            following = page["next_start"]

    def people() -> None:
        rows = [{**entry, "data": json.dumps(entry["data"])} for entry in entries]
        columns = {
            "position": "#", "at": "AT", "kind": "KIND", "actor": "ACTOR", "job": "JOB",
            "data": "DATA",
        }  # fmt: skip
        output.table(rows, columns)

    output.show(format, {"entries": entries, "next_start": following}, people)


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="Where to write the log, or - for stdout.")],
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Write the whole log into one file that verifies without the gateway."""
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.exports import save_export
    from fedgate_gateway.cli.profile import load_profile

    with Client(load_profile(profile)) as client:
        if os.fspath(path) == "-":
            for piece in client.export_audit():
                sys.stdout.buffer.write(piece)
            return
        size = save_export(client, path)
    told = {"path": str(path), "bytes": size}
    output.show(format, told, lambda: print(f"{path}: {output.size(size)}"))


@app.command()
def verify(
    file: Annotated[
        Path | None,
        typer.Argument(help="An exported log; without one the gateway's log is fetched."),
    ] = None,
    key: Annotated[
        str, typer.Option(help="The log's verifier key, name+id+key; default: the profile's.")
    ] = "",
    older: Annotated[
        list[Path] | None,
        typer.Option(
            help="A checkpoint kept from before: nothing in front of it may have changed."
        ),
    ] = None,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Check the log against its key: every entry, its order, and the signed checkpoint.

    Exits with 76 when anything is wrong. Without FILE the log is fetched from the gateway, and the
    checkpoint that verified is kept beside the profile and compared next time.

    \b
    fedgate audit verify
    fedgate audit verify log.jsonl --key 'fedgate+1a2b3c4d+AX…'
    """
    from fedgate_gateway.audit.verify import verify as verify_file

    kept = [_read_note(path) for path in older or []]
    if file is not None:
        report = verify_file(file, key or _profile_key(profile), older=kept)
    else:
        report = _verify_online(profile, key, kept)
    _tell(report, format)


def _verify_online(profile: Path | None, key: str, kept: list[str]) -> Report:
    from fedgate_gateway.audit.verify import verify as verify_file
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.exports import save_export
    from fedgate_gateway.cli.profile import load_profile, profile_path

    loaded = load_profile(profile)
    memory = profile_path(profile).parent / CHECKPOINT_FILE
    if memory.exists():
        kept.append(_read_note(memory))
    with tempfile.TemporaryDirectory() as folder, Client(loaded) as client:
        exported = Path(folder) / "log.jsonl"
        save_export(client, exported)
        report = verify_file(exported, key or loaded.audit_key or None, older=kept)
    if report.ok and report.trusted:
        draft = memory.with_name(f".{memory.name}")
        draft.write_text(report.checkpoint, "utf-8")
        draft.replace(memory)
    return report


def _profile_key(profile: Path | None) -> str | None:
    """Offline, a profile is a convenience: none is no error."""
    from fedgate_gateway.cli.profile import load_profile, profile_path

    return (load_profile(profile).audit_key or None) if profile_path(profile).exists() else None


def _read_note(path: Path) -> str:
    from fedgate.errors import NotFound

    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"cannot read the checkpoint {path}", why=str(error)) from error


def _tell(report: Report, format: Format) -> None:
    from fedgate.errors import SealBroken

    data = {
        "ok": report.ok and report.trusted,
        "origin": report.origin,
        "entries": report.size,
        "root": report.root.hex(),
        "trusted": report.trusted,
        "problems": list(report.problems),
        "kinds": dict(report.kinds),
        "checkpoint": report.checkpoint,
    }
    people = [(name, data[name]) for name in ("origin", "entries", "root", "kinds")]
    output.show(format, data, lambda: output.details(people))
    if not report.ok:
        raise SealBroken(
            "the audit log does not verify",
            why="; ".join(report.problems),
            remedy="keep the file: it is the proof. Ask who holds an older checkpoint",
        )
    if not report.trusted:
        raise SealBroken(
            "the log is consistent, but whose it is nobody said",
            why="no key was given, so the file's own was taken; anybody could have made it",
            remedy="pass --key, or set audit_key in the profile",
        )
    if format is Format.TABLE:
        print("the log verifies")
