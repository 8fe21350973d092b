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


@app.command()
def show(
    job: Annotated[str | None, typer.Option(help="Only entries of this job.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, as `job.transition`.")] = None,
    start: Annotated[int, typer.Option(min=0, help="Position of the first entry.")] = 0,
    limit: Annotated[int, typer.Option(min=1)] = 200,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Entries of the gateway's audit log, oldest first.

    They are shown as the gateway tells them; `fedgate audit verify` checks the log they stand in.
    """
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
    """Write the whole log into one file that verifies without the gateway.

    The file is verified at once, as `fedgate audit verify` does; what goes to stdout is not.
    """
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
    _check(*_verified(path, "", [], profile))


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

    Exits with 76 when anything is wrong. Without FILE the log is fetched from the gateway. Either
    way the checkpoint that verified is kept beside the profile, and the next log must agree with
    it: one that was rewritten since, or cut short, does not verify, whoever signed it.

    \b
    fedgate audit verify
    fedgate audit verify log.jsonl --key 'fedgate+1a2b3c4d+AX…'
    """
    from fedgate_gateway.cli.checkpoints import read_note

    kept = [read_note(path) for path in older or []]
    if file is not None:
        found = _verified(file, key, kept, profile)
    else:
        found = _verified_online(profile, key, kept)
    _tell(*found, format)
    _check(*found)
    if format is Format.TABLE:
        print("the log verifies")


def _verified_online(profile: Path | None, key: str, older: list[str]) -> tuple[Report, str]:
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.exports import save_export
    from fedgate_gateway.cli.profile import load_profile

    with tempfile.TemporaryDirectory() as folder, Client(load_profile(profile)) as client:
        exported = Path(folder) / "log.jsonl"
        save_export(client, exported)
        return _verified(exported, key, older, profile)


def _verified(file: Path, key: str, older: list[str], profile: Path | None) -> tuple[Report, str]:
    """The report, and in words what of this profile's past the log was compared with."""
    from fedgate_gateway.audit.note import VerifierKey
    from fedgate_gateway.audit.verify import verify as verify_file
    from fedgate_gateway.cli.checkpoints import KeptCheckpoint
    from fedgate_gateway.cli.profile import load_profile, profile_path

    path = profile_path(profile)
    believed = key or (load_profile(profile).audit_key if path.exists() else "")
    if not believed:
        return verify_file(file, None, older=older), "nothing: no key says which log this is"
    log = VerifierKey.parse(believed)
    if not path.exists():
        report = verify_file(file, log, older=older)
        return report, f"nothing kept: there is no profile {path}"
    memory = KeptCheckpoint(path.parent, log)
    note = memory.read()
    report = verify_file(file, log, older=[*older, *([] if note is None else [note])])
    if report.ok:
        memory.replace(report.checkpoint)
    if note is None:
        return report, "nothing kept: this profile has verified no log of this key before"
    return report, f"the checkpoint kept in {memory.path}"


def _tell(report: Report, compared: str, format: Format) -> None:
    data = {
        "ok": report.ok and report.trusted,
        "origin": report.origin,
        "entries": report.size,
        "root": report.root.hex(),
        "trusted": report.trusted,
        "compared": compared,
        "problems": list(report.problems),
        "kinds": dict(report.kinds),
        "checkpoint": report.checkpoint,
    }
    people = [(name, data[name]) for name in ("origin", "entries", "root", "compared", "kinds")]
    output.show(format, data, lambda: output.details(people))


def _check(report: Report, compared: str) -> None:
    from fedgate.errors import SealBroken

    if not report.ok:
        raise SealBroken(
            "the audit log does not verify",
            why=f"{'; '.join(report.problems)}; compared with {compared}",
            remedy="keep the file and the checkpoint: together they are the proof. A log that "
            "is only shorter may be an older export: export it again",
        )
    if not report.trusted:
        raise SealBroken(
            "the log is consistent, but whose it is nobody said",
            why="no key was given, so the file's own was taken; anybody could have made it",
            remedy="pass --key, or set audit_key in the profile",
        )
