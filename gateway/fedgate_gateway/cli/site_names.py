"""``--site-names site-1=hospital-a,…``: a workload's names of sites, and the project's for them.

They are put into the workload before its request is signed: what is signed, reviewed and run is one
bundle with the names of the project.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from fedgate.errors import FedgateError

_PAIR = re.compile(r"([A-Za-z0-9_.-]{1,127})=([a-z0-9][a-z0-9-]{0,62})")


def parse_site_names(text: str) -> dict[str, str]:
    """``site-1=hospital-a,site-2=hospital-b``; raises ``click.UsageError``."""
    pairs = [_PAIR.fullmatch(part.strip()) for part in text.split(",") if part.strip()]
    names = {pair[1]: pair[2] for pair in pairs if pair is not None}
    if len(names) != len(pairs) or len(set(names.values())) != len(names):
        import click

        raise click.UsageError(
            "--site-names takes THEIRS=OURS,… with each name once, as site-1=hospital-a, "
            f"not {text!r:.200}"
        )
    return names


def with_site_names(
    archive: bytes,
    names: Mapping[str, str],
    *,
    adapters: Collection[str] | None = None,
    required: bool = True,
) -> bytes:
    """The same workload for the project's sites; raises what its adapter has against it.

    ``required``: that it holds every one of ``names``.
    """
    if not names:
        return archive
    from fedgate.bundle import Bundle, pack_files
    from fedgate.errors import AdapterFailed
    from fedgate.plugins import recognise

    tree = Bundle.read(archive).tree
    adapter = recognise(tree, allowed=adapters)
    try:
        renamed = adapter.rename_sites(tree, names, required=required)
        return archive if renamed is tree else pack_files(renamed.files)
    except FedgateError:
        raise
    except Exception as error:
        raise AdapterFailed(
            f"adapter {adapter.framework!r} failed to rename the workload's sites",
            why=repr(error)[:300],
        ) from error
