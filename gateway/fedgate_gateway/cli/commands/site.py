"""`fedgate site`: the sites of a gateway, and running one."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.enrolling import (
    EnrolmentTokenFileOption,
    EnrolmentTokenOption,
    enrol_program,
)
from fedgate_gateway.cli.options import ConfigOption, FormatOption, ProfileOption
from fedgate_gateway.cli.output import Format
from fedgate_gateway.cli.programs import EofOption, LogFormatOption, LogLevelOption

app = typer.Typer(
    name="site",
    help="The sites of a gateway, and running one.",
    no_args_is_help=True,
)


@app.command(name="list")
def list_sites(profile: ProfileOption = None, format: FormatOption = Format.TABLE) -> None:
    """Sites and enclaves, whether they have enrolled, and whether they are linked now.

    GUARD is "strict" where the owner opened nothing for results; `fedgate site status` shows the
    lines that an owner wrote.

    Sites whose project file is not that of an enclave are named: no job of theirs would start.
    """
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile
    from fedgate_gateway.cli.project_files import differing

    with Client(load_profile(profile)) as client:
        data = {"sites": client.sites(), "enclaves": client.enclaves()}
    rows = [{**peer, "kind": "site", "guard": _guard(peer)} for peer in data["sites"]]
    rows += [{**peer, "kind": "enclave"} for peer in data["enclaves"]]
    columns = {
        "name": "NAME", "kind": "KIND", "online": "ONLINE", "projects": "PROJECTS",
        "guard": "GUARD", "enrolled": "ENROLLED", "expires": "EXPIRES",
    }  # fmt: skip

    def people() -> None:
        output.table(rows, columns)
        for sentence in differing(data["sites"], data["enclaves"]):
            print(sentence)

    output.show(format, data, people)


def _guard(peer: Mapping[str, Any]) -> str:
    """In a word; nothing for a site that does not say, as one that is not linked."""
    lines = peer.get("guard")
    if lines is None:
        return ""
    return f"opened, {len(lines)} lines" if lines else "strict"


@app.command()
def status(
    site: Annotated[str, typer.Argument(metavar="SITE")],
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """One site. Exits with 69 when it is not linked to the gateway."""
    from fedgate.errors import NotFound, Unavailable
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile
    from fedgate_gateway.cli.project_files import differing

    with Client(load_profile(profile)) as client:
        found = [peer for peer in client.sites() if peer["name"] == site]
        enclaves = client.enclaves()
    if not found:
        raise NotFound(f"the gateway knows no site {site!r}", remedy="see `fedgate site list`")
    shown = {**found[0], "guard": found[0].get("guard") or _guard(found[0])}

    def people() -> None:
        output.details(list(shown.items()))
        for sentence in differing(found, enclaves):
            print(sentence)

    output.show(format, found[0], people)
    if not found[0]["online"]:
        raise Unavailable(
            f"site {site} is not linked to the gateway",
            why="its agent does not run, or has never enrolled",
            remedy="start it at the data owner: `fedgate site run --config site.toml`",
        )


@app.command()
def enroll(
    config: ConfigOption,
    token: EnrolmentTokenOption = "",
    token_file: EnrolmentTokenFileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Turn a one-time token into this site's keys and certificate, in its data folder.

    \b
    fedgate site enroll --config site.toml --token-file token
    """
    from fedgate_gateway.config import SiteConfig, load_config

    loaded = load_config(SiteConfig, config)
    enrol_program("site", loaded, token=token, file=token_file, format=format)


@app.command()
def logs(
    config: ConfigOption,
    job: Annotated[str, typer.Argument(metavar="[JOB]", help="Default: list the jobs.")] = "",
    last: Annotated[
        int | None, typer.Option(help="Only so many lines, from the end.", min=1)
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """What the workers of jobs printed here; it never leaves the site.

    Reads the data folder that the configuration names, so only who may read that can see it.

    \b
    fedgate site logs --config site.toml
    fedgate site logs --config site.toml job-0vv41dq75y29 --last 50
    """
    import sys

    from fedgate_gateway.config import SiteConfig, load_config
    from fedgate_gateway.site.logs import WorkerLogs

    found = WorkerLogs(load_config(SiteConfig, config).data)
    if job:
        for line in found.of(job).lines(last):
            sys.stdout.write(output.printable(line))
        return
    listed = [
        {
            "job": log.job,
            "bytes": log.size,
            "changed": log.changed.isoformat(timespec="seconds"),
            "path": str(log.path),
        }
        for log in found.list()
    ]
    columns = {"job": "JOB", "bytes": "BYTES", "changed": "CHANGED", "path": "PATH"}
    output.show(format, {"logs": listed}, lambda: output.table(listed, columns))


@app.command()
def outputs(
    config: ConfigOption,
    job: Annotated[str, typer.Argument(metavar="[JOB]", help="Default: list the jobs.")] = "",
    output_folder: Annotated[
        Path | None, typer.Option("--output", help="Copy the job's files into this folder.")
    ] = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Files that workers of jobs left here, until outputs_days are over.

    Whether a job's submitter got them as well stands in its log and in `fedgate job show`.

    Reads the data folder that the configuration names, so only who may read that can see them.

    \b
    fedgate site outputs --config site.toml
    fedgate site outputs --config site.toml job-0vv41dq75y29 --output ./results
    """
    from fedgate_gateway.config import SiteConfig, load_config
    from fedgate_gateway.site.outputs import SiteOutputs

    loaded = load_config(SiteConfig, config)
    found = SiteOutputs(loaded.data, limit=loaded.outputs_bytes, days=loaded.outputs_days)
    if job:
        files = found.copy(job, output_folder) if output_folder else found.of(job).files()
        rows = [{"file": output.printable(f.name), "bytes": f.size} for f in files]
        output.show(
            format, {"files": rows}, lambda: output.table(rows, {"file": "FILE", "bytes": "BYTES"})
        )
        return
    listed = [
        {
            "job": one.job,
            "files": len(one.files()),
            "bytes": sum(file.size for file in one.files()),
            "left_out": one.left_out,
            "kept": one.kept.isoformat(timespec="seconds"),
        }
        for one in found.list()
    ]
    columns = {
        "job": "JOB", "files": "FILES", "bytes": "BYTES", "left_out": "LEFT OUT", "kept": "KEPT",
    }  # fmt: skip
    output.show(format, {"outputs": listed}, lambda: output.table(listed, columns))


@app.command()
def series(
    config: ConfigOption,
    forget: Annotated[str, typer.Option(metavar="SERIES", help="Remove what it left here.")] = "",
    format: FormatOption = Format.TABLE,
) -> None:
    """What workers of a series of jobs remember at this site, until series_days are over.

    \b
    fedgate site series --config site.toml
    fedgate site series --config site.toml --forget ward-study
    """
    from fedgate_gateway.config import SiteConfig, load_config
    from fedgate_gateway.site.series import SeriesFolders

    loaded = load_config(SiteConfig, config)
    folders = SeriesFolders(loaded.data, loaded.series_days)
    if forget:
        folders.forget(forget)
    listed = [
        {
            "series": one.key.series,
            "app": one.key.app,
            "project": one.key.project,
            "submitter": one.key.submitter,
            "job": one.job,
            "used": one.used.isoformat(timespec="seconds"),
            "bytes": one.size(),
        }
        for one in folders.list()
    ]
    columns = {
        "series": "SERIES", "app": "APP", "project": "PROJECT", "submitter": "SUBMITTER",
        "job": "LAST JOB", "used": "USED", "bytes": "BYTES",
    }  # fmt: skip
    output.show(format, {"series": listed}, lambda: output.table(listed, columns))


@app.command()
def reload(config: ConfigOption, format: FormatOption = Format.TABLE) -> None:
    """Let the running agent go by site.toml, its policy and its project files as they are now.

    They are checked first; with a mistake in one of them nothing changes. Jobs that run go on by
    the rules that they were accepted by. `kill -HUP` does the same without the check.

    \b
    fedgate site reload -c site.toml
    """
    from fedgate.errors import NotFound
    from fedgate_gateway.config import SiteConfig, load_config
    from fedgate_gateway.site.rules import Rules
    from fedgate_gateway.site.running import running_process

    found = Rules.of(load_config(SiteConfig, config)).config
    process = running_process(found.data)
    if process is None:
        raise NotFound(
            f"no agent of {found.name} runs on this machine",
            why=f"nobody holds {found.data / 'agent.pid'}",
            remedy="the files are right; start it with `fedgate site run`",
        )
    os.kill(process, signal.SIGHUP)
    told = f"{found.name} (process {process}) reads its files again; its log says if it could not"
    output.show(format, {"site": found.name, "process": process}, lambda: print(told))


@app.command()
def run(
    config: ConfigOption,
    log_format: LogFormatOption = "plain",
    log_level: LogLevelOption = "info",
    stop_on_eof: EofOption = False,
) -> None:
    """Run the agent of a site until SIGTERM or Ctrl-C."""
    from fedgate_gateway.cli.programs import forked_inspector, prepare, run_until_stopped

    prepare(log_format, log_level)
    from fedgate_gateway.config import SiteConfig, load_config

    loaded = load_config(SiteConfig, config)
    inspector = forked_inspector(loaded.adapters, loaded.inspection)
    from fedgate_gateway.site.agent import SiteAgent
    from fedgate_gateway.site.running import known_as_running

    async def program() -> None:
        agent = SiteAgent(loaded, inspector)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, agent.reload, config)
        with known_as_running(loaded.data):
            await agent.run()

    with closing(inspector):
        run_until_stopped(program, name=f"site {loaded.name}", stop_on_eof=stop_on_eof)
