"""`fedgate dev`: a whole federation on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedgate_gateway.cli.options import split


def dev(
    dir: Annotated[
        Path, typer.Option("--dir", "-d", help="Configuration, keys, data and logs live there.")
    ],
    sites: Annotated[
        int | None, typer.Option(help="How many sites; default: 3, or as many as DIR has.", min=2)
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PATH: a dataset of every site; {site} stands for its name."),
    ] = None,
    dataset_setting: Annotated[
        list[str] | None,
        typer.Option(help="NAME:KEY=VALUE: handed to the workload (Flower: node_config)."),
    ] = None,
    dataset_environment: Annotated[
        list[str] | None,
        typer.Option(help="NAME:VARIABLE=VALUE: an environment variable of the workload."),
    ] = None,
    adapters: Annotated[str, typer.Option(help="Adapters that are allowed.")] = "flower,flare",
    examples: Annotated[
        bool, typer.Option(help="Offer the examples' datasets breast-cancer and digits.")
    ] = True,
    prepare_only: Annotated[
        bool, typer.Option("--prepare-only", help="Write and enrol everything, then stop.")
    ] = False,
) -> None:
    """Run a gateway, an enclave host (its TEE is simulated) and sites, until Ctrl-C.

    The first use writes ordinary configuration files into DIR and enrols everybody in the ordinary
    way; later uses run from those files as they are, edited or not. In settings and variables of a
    dataset, {path} stands for its path.

    \b
    fedgate dev --dir ./federation --sites 3
    fedgate dev --dir ./federation --dataset patients='/data/{site}/patients.csv' \\
        --dataset-setting 'patients:data-path={path}'
    """
    from fedgate_gateway.dev.datasets import read_options
    from fedgate_gateway.dev.federation import Federation
    from fedgate_gateway.dev.foreground import run

    federation = Federation(
        dir,
        sites=sites,
        datasets=read_options(dataset or [], dataset_setting or [], dataset_environment or []),
        adapters=tuple(split(adapters)),
        examples=examples,
    )
    if prepare_only:
        federation.prepare()
        print(f"{federation.dir} is prepared; start the programs with the files in it")
    else:
        run(federation)
