"""Words of exceptions are logged at DEBUG alone: they may repeat what a workload said."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

GATEWAY = Path(__file__).parents[2] / "gateway" / "fedgate_gateway"
_LEVELS = {"info", "warning", "error", "critical"}
#: Errors that are made of nothing but our own words, configuration and numbers.
OURS = {
    "control/scheduler.py: job %s: %s",  # InvalidTransition: states of a job
    "inspection/server.py: an inspection cannot start: %s",  # fork's OSError
    "link/renewal.py: the certificate of this peer ends in %.1f days and could not be renewed: %s",
    "link/report_outbox.py: job %s: %s",  # its own limits, and the disk's error
    "relay/reporting.py: job %s: a report of %s is refused: %s",  # names fields of our schema
    "relay/reporting.py: job %s: an event is left out: %s",  # LimitReached
    "site/agent.py: the site goes on by its former files: %s",  # its owner's configuration
}


def logged(tree: ast.AST) -> Iterator[str]:
    """The sentences of logger calls that are given an exception to show."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = call.func
        if not isinstance(function, ast.Attribute) or function.attr not in _LEVELS:
            continue
        if not isinstance(function.value, ast.Name) or "log" not in function.value.id.lower():
            continue
        if any(isinstance(arg, ast.Name) and arg.id == "error" for arg in call.args[1:]):
            assert isinstance(call.args[0], ast.Constant)
            yield str(call.args[0].value)


def test_no_line_of_an_operators_log_shows_an_error_that_others_may_have_worded() -> None:
    found = {
        f"{path.relative_to(GATEWAY)}: {sentence}"
        for path in GATEWAY.rglob("*.py")
        for sentence in logged(ast.parse(path.read_text()))
    }
    assert found == OURS
