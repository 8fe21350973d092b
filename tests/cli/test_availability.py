"""What a submitter reads before it waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fedgate.errors import Unavailable
from fedgate_gateway.cli import availability
from fedgate_gateway.link.review_answer import KEEPS_FILES

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def site(name: str, **changes: Any) -> dict[str, Any]:
    fields = {"site": name, "online": True, "lacks": [], "decision": "accepted", "reason": ""}
    return {**fields, **changes}


def said(*sites: dict[str, Any], **changes: Any) -> str:
    told = {
        "sites": list(sites), "enclave": True, "min_sites": 2,
        "goes_on": (NOW + timedelta(seconds=29.5)).isoformat(), **changes,
    }  # fmt: skip
    return "\n".join(availability.lines(told, NOW))


def test_who_takes_part_who_declines_and_who_is_not_there():
    text = said(
        site("a"), site("b"),
        site("c", decision="denied", reason="no numpy"),
        site("d", decision="denied", reason="no numpy"),
        site("e", decision="pending", online=False),
        site("f", decision="pending", lacks=["dataset patients"]),
    )  # fmt: skip
    assert text.splitlines() == [
        "  a, b: takes part",
        "  c, d: declines: no numpy",
        "  e: offline",
        "  f: online, and has no dataset patients",
        "  without e, f it goes on in 30 s (min_sites 2)",
    ]


def test_a_yes_that_keeps_the_files_says_so():
    kept = f"Demo may train; {KEEPS_FILES}: no rule permits it; its owner can add to a.cedar: x"
    text = said(site("a", reason="Demo may train"), site("b", reason=kept))
    assert "  a: takes part\n" in text
    assert f"  b: takes part, {KEEPS_FILES}: no rule permits it; its owner can add" in text


def test_a_job_that_needs_more_sites_says_how_many():
    text = said(site("a"), site("b", decision="pending", online=False))
    assert text.endswith("it waits for 1 more of b (min_sites 2)")


def test_a_site_that_the_workload_needs_is_waited_for():
    sites = site("a"), site("b"), site("c", decision="pending", online=False)
    assert said(*sites, mandatory=["c"]).endswith("it cannot go on without c")


def test_no_enclave_is_said():
    assert "no enclave is linked" in said(site("a"), site("b"), enclave=False)


def test_a_gateway_that_does_not_say_is_no_failure_of_the_submission():
    class Silent:
        def availability(self, _job: str, *, wait: float) -> dict[str, Any]:
            raise Unavailable("it is restarting")

    assert availability.ask(Silent(), "job-1") == {}  # type: ignore[arg-type]
    assert "did not say" in availability.lines({})[0]
