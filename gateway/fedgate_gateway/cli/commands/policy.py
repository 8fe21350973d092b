"""`fedgate policy`: does a policy load, and what would it say to a job?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedgate_gateway.cli import output
from fedgate_gateway.cli.options import FormatOption, ProfileOption, split
from fedgate_gateway.cli.output import Format

if TYPE_CHECKING:
    from fedgate_gateway.policy import Explanation

app = typer.Typer(
    name="policy",
    help="Does a policy load, and what would it say to a job?",
    no_args_is_help=True,
)
Action = Literal["join", "submit", "release_files"]
SignedBy = Literal["submitter", "gateway"]


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Cedar policies.")],
    format: FormatOption = Format.TABLE,
) -> None:
    """Parse policies and validate them against the schema. Exits with 78 when one is wrong."""
    from fedgate.errors import InvalidConfig
    from fedgate_gateway.policy import check as check_policy

    found = [{"file": str(file), "problems": list(check_policy(file))} for file in files]
    wrong = [one for one in found if one["problems"]]

    def people() -> None:
        for one in found:
            print(f"{one['file']}: {'ok' if not one['problems'] else 'wrong'}")
            for problem in one["problems"]:
                print(f"  {output.printable(problem)}")

    output.show(format, {"policies": found}, people)
    if wrong:
        raise InvalidConfig(f"{len(wrong)} of {len(found)} policies would not load")


@app.command()
def explain(
    policy: Annotated[Path, typer.Argument(help="A Cedar policy.")],
    workload: Annotated[Path, typer.Argument(help="A workload, as for `fedgate job submit`.")],
    action: Annotated[
        Action,
        typer.Option(
            help="`join` asks a site's policy, `release_files` the same of files that its worker "
            "left, `submit` the gateway's."
        ),
    ] = "join",
    project: Annotated[str, typer.Option()] = "demo",
    site: Annotated[str, typer.Option(help="Who is asked to join.")] = "site-1",
    sites: Annotated[str, typer.Option(help="The job's sites.")] = "site-1,site-2,site-3",
    datasets: Annotated[str, typer.Option()] = "",
    labels: Annotated[str, typer.Option(help="Labels of the site's datasets.")] = "",
    submitter: Annotated[str, typer.Option(help="The name on the token.")] = "developer",
    config: Annotated[
        list[str] | None,
        typer.Option("--config", help="KEY=VALUE: a setting that the submitter overrides."),
    ] = None,
    min_sites: Annotated[
        int | None, typer.Option(min=1, help="Default: what the workload asks for.")
    ] = None,
    task_seconds: Annotated[
        float | None, typer.Option(min=0, help="Default: the enclave's own limit.")
    ] = None,
    signed_by: Annotated[
        SignedBy, typer.Option(help="`gateway` for a door inside the gateway.")
    ] = "submitter",
    evidence: Annotated[str, typer.Option(help="Kind of the enclave's evidence.")] = "simulated",
    sandbox: Annotated[
        str, typer.Option(help="What the enclave runs workloads in.")
    ] = "bubblewrap",
    file_names: Annotated[
        str, typer.Option(help="What the worker left, for `release_files`: a.json,b/c.png.")
    ] = "",
    file_bytes: Annotated[int, typer.Option(min=0, help="Bytes of all of them.")] = 0,
    project_file: Annotated[
        Path | None, typer.Option(help="Its release rules are asked about; default: the safest.")
    ] = None,
    profile: ProfileOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Why a policy allows or denies a job, rule by rule. Exits with 77 when it denies.

    \b
    fedgate policy explain policies/site.cedar examples/flare-digits/job --datasets digits
    """
    from fedgate_gateway.cli.overrides import parse_overrides
    from fedgate_gateway.cli.questions import question
    from fedgate_gateway.policy import Policy
    from fedgate_gateway.policy import explain as explain_policy

    request = question(
        workload, action=action, project=project, site=site, sites=split(sites),
        datasets=split(datasets), labels=split(labels), submitter=submitter,
        config=parse_overrides(config or []), min_sites=min_sites, task_seconds=task_seconds,
        signed_by=signed_by, evidence=evidence, sandbox=sandbox,
        file_names=split(file_names), file_bytes=file_bytes,
        project_file=project_file, profile=profile,
    )  # fmt: skip
    explanation = explain_policy(Policy.load(policy), request)
    output.show(format, _data(explanation), lambda: _people(explanation))
    explanation.decision.require()


def _data(explanation: Explanation) -> dict[str, Any]:
    decision = explanation.decision
    rules = [
        {
            "id": trace.rule.id,
            "effect": trace.rule.effect,
            "why": trace.rule.why,
            "applied": trace.applied,
            "decided": trace.decided,
            "in_scope": trace.in_scope,
            "failed": list(trace.failed),
        }
        for trace in explanation.rules
    ]
    return {"allowed": decision.allowed, "why": decision.why, "rules": rules}


def _people(explanation: Explanation) -> None:
    decision = explanation.decision
    print(f"{'allowed' if decision.allowed else 'denied'}: {output.printable(decision.why)}")
    for trace in explanation.rules:
        if trace.applied:
            how = "applies"
        elif trace.in_scope:
            how = "does not apply: " + " and ".join(trace.failed)
        else:
            how = "does not apply: it is about other projects, actions or sites"
        print(f"  {trace.rule.effect} {trace.rule.id} {output.printable(how)}")
