"""`fedgate job`: submit workloads, watch them, and fetch what they release."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import (
    FormatOption,
    JobArgument,
    ProfileOption,
    SiteFilesOption,
    SiteNamesOption,
    split,
)
from fedgate_gateway.cli.output import Format

if TYPE_CHECKING:
    from fedgate_gateway.cli.client import Client

app = typer.Typer(
    name="job",
    help="Submit workloads, watch them, and fetch what they release.",
    no_args_is_help=True,
)
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Folder for the outputs; default: ./<job>."),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Write into a folder that holds files already.")
]


@app.command()
def submit(
    path: Annotated[
        Path,
        typer.Argument(help="A workload: Flower app directory or FAB, FLARE job folder or ZIP."),
    ],
    project: Annotated[str, typer.Option(help="Default: the profile's project.")] = "",
    sites: Annotated[str, typer.Option(help="site-1,site-2; default: the workload's or all.")] = "",
    site_names: SiteNamesOption = "",
    datasets: Annotated[str, typer.Option(help="Names of the sites' datasets, a,b.")] = "",
    min_sites: Annotated[int | None, typer.Option(help="Fewer fail the job.", min=1)] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", help="KEY=VALUE: override a setting of the workload; repeatable."),
    ] = None,
    name: Annotated[str, typer.Option(help="A title; default: the workload's own name.")] = "",
    task_seconds: Annotated[
        float | None, typer.Option(help="How long one task of a site may take.")
    ] = None,
    expires: Annotated[
        str, typer.Option(help="How long it may wait to be started, as 12h or 7d; at most 30d.")
    ] = "7d",
    enclave: Annotated[
        str, typer.Option(help="Which enclave runs it, where the project has several.")
    ] = "",
    site_files: SiteFilesOption = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show progress, then fetch outputs.")
    ] = False,
    output_dir: OutputOption = None,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Submit a workload, and with --wait show its progress and fetch what it releases.

    First it says which sites are online, who declines and why, and when the job goes on without the
    rest. The whole request is signed with the profile's key; sites and enclave run nothing else.

    \b
    fedgate job submit ./my-flower-app --datasets patients --wait
    fedgate job submit job.zip --project demo --sites site-1,site-2 --config rounds=5
    """
    from fedgate_gateway.cli import availability, workload
    from fedgate_gateway.cli.board import watch
    from fedgate_gateway.cli.durations import parse_duration
    from fedgate_gateway.cli.endings import require_success
    from fedgate_gateway.cli.failed_log import show_end_of_log
    from fedgate_gateway.cli.overrides import parse_overrides
    from fedgate_gateway.cli.progress import JobProgress
    from fedgate_gateway.cli.signing import sign_submission
    from fedgate_gateway.cli.site_names import parse_site_names, with_site_names
    from fedgate_gateway.cli.submissions import Submissions

    overrides = parse_overrides(config or [])
    valid_seconds = parse_duration(expires)
    names = parse_site_names(site_names)
    with _client(profile) as client:
        archive = workload.load(path, adapters=client.profile.adapters)
        archive = with_site_names(archive, names, adapters=client.profile.adapters)
        recipient = client.profile.recipient_key().public_raw if client.profile.recipient else None
        signed = sign_submission(
            client.profile,
            archive,
            project=project,
            name=name,
            sites=split(sites),
            datasets=split(datasets),
            min_sites=min_sites,
            config=overrides,
            recipient=recipient,
            task_seconds=task_seconds,
            valid_seconds=valid_seconds,
            enclave=enclave,
            site_files=site_files,
        )
        job = client.send(signed)
        Submissions(profile).submitted(job, signed)
        print(f"{job['id']} submitted", file=sys.stderr)
        there = availability.ask(client, job["id"])
        if format is Format.TABLE or wait:
            print(*availability.lines(there), sep="\n", file=sys.stderr)
        if not wait:
            told = {"job": job, "availability": there}
            output.show(format, told, lambda: print(job["id"]))
            return
        watch(client, [JobProgress.of(job)])
        ended = client.job(job["id"])["job"]
        show_end_of_log(client, ended, profile)
        require_success(ended)
        _fetch(client, ended, output_dir, profile=profile, format=format, force=False)


@app.command(name="list")
def list_jobs(
    project: Annotated[str | None, typer.Option()] = None,
    state: Annotated[str | None, typer.Option(help="As `running`, `failed`.")] = None,
    framework: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Jobs, newest first."""
    with _client(profile) as client:
        jobs: list[dict[str, Any]] = []
        cursor: str | None = None
        while len(jobs) < limit:
            page = client.jobs(
                limit=min(limit - len(jobs), 100), cursor=cursor,
                project=project, state=state, framework=framework,
            )  # fmt: skip
            jobs += page["jobs"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
    columns = {
        "id": "JOB", "name": "NAME", "framework": "FRAMEWORK", "project": "PROJECT",
        "state": "STATE", "sites": "SITES", "created": "CREATED", "reason": "REASON",
    }  # fmt: skip
    output.show(format, {"jobs": jobs}, lambda: output.table(jobs, columns))


@app.command()
def show(
    job: JobArgument, profile: ProfileOption = None, format: FormatOption = Format.TABLE
) -> None:
    """A job, what it runs and depends on, what its data owners decided, and what it released."""
    with _client(profile) as client:
        found = {**client.job(job), "outputs": client.outputs(job)}

    def people() -> None:
        shown = found["job"]
        output.details([(key.replace("_", " "), value) for key, value in shown.items()])
        if found["clear"]:
            told = ", ".join(found["clear"])
            output.details([("IN CLEAR", f"{told}: whoever has the gateway can read them")])
        print()
        output.details(_described(found["bundle"]["manifest"]))
        print()
        columns = {"site": "SITE", "decision": "DECISION", "reason": "REASON"}
        if any(site["state"] for site in found["sites"]):
            columns |= {"state": "STATE", "why": "WHY"}
        output.table(found["sites"], columns)
        for frame in found["refused_frames"]:
            print(f"\n{output.printable(frame['told'])}")
        if found["outputs"]:
            print()
            columns = {"name": "OUTPUT", "kind": "KIND", "size": "BYTES", "sealed": "SEALED"}
            output.table(found["outputs"], columns)

    output.show(format, found, people)


def _described(manifest: dict[str, Any]) -> list[tuple[str, Any]]:
    """What a reviewer asks of a bundle, as its adapter read it."""
    asks = f"{manifest['framework']} {manifest['framework_version']}".strip()
    return [
        ("workload", f"{manifest['name']} {manifest['version']}".strip()),
        ("made for", asks),
        *manifest["entry_points"].items(),
        ("depends on", manifest["dependencies"]),
        ("components", manifest["components"]),
        ("opaque frames", manifest["frames"]),
        *(("note", note) for note in manifest["notes"]),
    ]


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[
        bool, typer.Option("--follow", help="As it grows, where the project shows logs in clear.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """What the coordinator printed; a sealed log is fetched and opened with the profile's key."""
    from fedgate.errors import Conflict
    from fedgate_gateway.cli.results import read_log
    from fedgate_gateway.cli.submissions import Submissions

    with _client(profile) as client:
        if follow:
            for text in client.follow_log(job, say=lambda line: print(line, file=sys.stderr)):
                sys.stdout.write(output.printable(text))
                sys.stdout.flush()
            return
        try:
            text = client.log(job)
        except Conflict:  # it is sealed
            text = read_log(client, job, submissions=Submissions(profile))
        sys.stdout.write(output.printable(text))


@app.command()
def watch(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB...")],
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show the progress of jobs until they end; with --format json one event a line.

    The exit code is that of the first job that did not succeed.
    """
    from fedgate_gateway.cli import board
    from fedgate_gateway.cli.endings import require_success
    from fedgate_gateway.cli.progress import JobProgress

    with _client(profile) as client:
        progress = [JobProgress.of(client.job(job)["job"]) for job in jobs]
        if format is Format.JSON:
            board.print_events(client, progress)
        else:
            board.watch(client, progress)
        for job in jobs:
            require_success(client.job(job)["job"])


@app.command()
def cancel(
    job: JobArgument, profile: ProfileOption = None, format: FormatOption = Format.TABLE
) -> None:
    """Cancel a job that has not ended."""
    with _client(profile) as client:
        cancelled = client.cancel(job)
    output.show(format, {"job": cancelled}, lambda: print(f"{job} {cancelled['state']}"))


@app.command()
def result(
    job: JobArgument,
    output_dir: OutputOption = None,
    force: ForceOption = False,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Fetch what a job released and open what is sealed: model, artifacts, log, sites' files.

    \b
    fedgate job result job-0vv41dq75y29 --output ./trained
    """
    with _client(profile) as client:
        ended = client.job(job)["job"]
        _fetch(client, ended, output_dir, profile=profile, format=format, force=force)


def _fetch(
    client: Client,
    job: dict[str, Any],
    into: Path | None,
    *,
    profile: Path | None,
    format: Format,
    force: bool,
) -> None:
    from fedgate_gateway.cli.numbers import last_numbers
    from fedgate_gateway.cli.results import fetch_all
    from fedgate_gateway.cli.submissions import Submissions

    fetched = fetch_all(
        client, job["id"], into or Path(job["id"]), submissions=Submissions(profile), force=force
    )
    outputs = [item.to_dict() for item in fetched]
    columns = {"kind": "OUTPUT", "bytes": "BYTES", "sealed": "WAS SEALED", "path": "PATH"}

    def people() -> None:
        if fetched:
            output.table(outputs, columns)
            for item in fetched:
                if item.problem:
                    why = output.printable(item.problem)
                    print(f"\n{item.path} is not unpacked: {why}", file=sys.stderr)
                if item.kind == "metrics":
                    print()
                    columns_of = {"metric": "METRIC", "value": "LAST", "of": "OF", "round": "ROUND"}
                    output.table(last_numbers(Path(item.path)), columns_of)
        else:
            print(f"{job['id']} released nothing")

    output.show(format, {"job": job, "outputs": outputs}, people)


def _client(profile: Path | None) -> Client:
    from fedgate_gateway.cli.client import Client
    from fedgate_gateway.cli.profile import load_profile

    return Client(load_profile(profile))
