"""`fedgate profile`: which gateway, as whom, and which keys are believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import FormatOption, ProfileOption
from fedgate_gateway.cli.output import Format

if TYPE_CHECKING:
    from fedgate_gateway.cli.profile import Profile

app = typer.Typer(
    name="profile",
    help="Which gateway, as whom, and which keys are believed.",
    no_args_is_help=True,
)


@app.command()
def show(profile: ProfileOption = None, format: FormatOption = Format.TABLE) -> None:
    """The profile in use, the name it submits in, and the fingerprint of its recipient key."""
    from fedgate_gateway.cli.profile import load_profile, profile_path
    from fedgate_gateway.link.terms import fingerprint

    loaded = load_profile(profile)
    data = {
        "file": str(profile_path(profile)),
        "api": loaded.api,
        "project": loaded.project,
        "submitter": loaded.submitter,
        "signer": str(loaded.signer or ""),
        "recipient": fingerprint(loaded.recipient_key().public_raw) if loaded.recipient else "",
        "enclaves": dict(loaded.enclaves),
        "audit_key": loaded.audit_key,
        "adapters": list(loaded.adapters),
    }
    output.show(format, data, lambda: output.details(list(data.items())))


@app.command()
def init(
    api: Annotated[str, typer.Option(help="The gateway's API, https://host:port.")],
    token_file: Annotated[
        Path, typer.Option(help="Holds your access token; it is copied, with mode 0600.")
    ],
    project: Annotated[str, typer.Option(help="The default project.")] = "",
    audit_key: Annotated[str, typer.Option(help="The audit log's verifier key.")] = "",
    ca_fingerprint: Annotated[
        str,
        typer.Option(help="SHA-256 of the gateway's CA certificate, in hex, from its operator."),
    ] = "",
    ca: Annotated[
        Path | None,
        typer.Option(help="In its place: the CA of whoever ends TLS in front of the API."),
    ] = None,
    proxy: Annotated[str, typer.Option(help="An HTTP proxy on the way, http://host:port.")] = "",
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Write a new profile with fresh keys, and print what the project's file must say of them.

    One key signs your requests, outputs are sealed to the other; every member of the project adds
    the printed lines to its copy of the project's file. The gateway's CA is fetched, and believed
    because of its fingerprint.

    \b
    fedgate profile init --api https://gateway.example:8443 --ca-fingerprint 9f2c… \\
        --token-file token --project demo
    """
    from fedgate_gateway.cli.new_profile import create_profile
    from fedgate_gateway.cli.profile import profile_path

    made = create_profile(
        profile_path(profile), api=api, ca_fingerprint=ca_fingerprint, ca_file=ca,
        token_file=token_file, project=project, audit_key=audit_key, proxy=proxy,
    )  # fmt: skip
    _show_lines(made, str(profile_path(profile)), format)


@app.command()
def signer(profile: ProfileOption = None, format: FormatOption = Format.TABLE) -> None:
    """Make the key that signs your requests, if the profile has none, and print the lines again.

    It is written to `signer.key` beside the profile, and named in it; so is the token's name.
    """
    from fedgate_gateway.cli.new_profile import complete_profile
    from fedgate_gateway.cli.profile import profile_path

    path = profile_path(profile)
    _show_lines(complete_profile(path), str(path), format)


def _show_lines(made: Profile, file: str, format: Format) -> None:
    from fedgate_gateway.cli.new_profile import project_lines

    lines = project_lines(made)
    told = {"file": file, "submitter": made.submitter, "project_lines": lines}

    def people() -> None:
        print(f"wrote {file}; every copy of the project's file must say (recipients is one list):")
        print()
        print(lines, end="")

    output.show(format, told, people)
