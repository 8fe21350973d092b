"""What a site answers in review: a code, bounded names and its owner's sentences; no other text."""

from __future__ import annotations

import pytest

from fedgate.codes import Code
from fedgate.errors import Denied, InvalidBundle, InvalidMessage
from fedgate.notice import Notice
from fedgate_gateway.link.review_answer import ReviewAnswer
from fedgate_proto.v1 import link_pb2 as pb

SECRET = "Patient 7"


def no(code: Code, *about: str) -> str:
    """As its submitter reads it, over the link."""
    answer = ReviewAnswer.no(Denied(SECRET, why=SECRET, notice=Notice(code), about=about))
    reply = answer.reply("job-1", b"digest")
    assert SECRET.encode() not in reply.SerializeToString() or SECRET in about
    assert not reply.accepted
    assert ReviewAnswer.read(pb.OfferReply.FromString(reply.SerializeToString())) == answer
    return answer.sentence


def test_a_yes_and_a_no_say_what_the_owner_wrote() -> None:
    yes = ReviewAnswer.yes(["Our own framework.", "And\nmore\x1b[2J" + "." * 500])
    reply = yes.reply("job-1", b"digest")
    assert (reply.accepted, reply.policy_digest, reply.notice) == (True, b"digest", "")
    assert ReviewAnswer.read(reply).sentence.startswith("Our own framework.; And more [2J...")
    assert no(Code.POLICY_DECLINES, "Not at night.", "Not by day.") == (
        "this site does not take part: Not at night.; Not by day. "
        "(see the site's policy, or ask its data owner)"
    )


def test_a_code_says_what_it_speaks_of_and_what_to_do() -> None:
    assert no(Code.LACKS_DATASET, "payroll") == "this site has no dataset: payroll"
    changed = no(Code.REQUEST_CHANGED, "config")
    assert changed.startswith("the job is not what its submitter signed: config (somebody")
    lacks = no(Code.SITE_LACKS_DEPENDENCIES, "torch>=2 (not installed)", "w\u00f6rd\x1b")
    assert "depends on: torch>=2 (not installed), w_rd_ (its operator can install it" in lacks
    assert no(Code.GUARD_CLOSED, *["x" * 900] * 99).count("x" * 200) == 20


def test_what_an_error_says_stays_at_the_site() -> None:
    """A bundle's own words can stand in any part of it."""
    error = InvalidBundle(SECRET, why=SECRET, remedy=SECRET, about=(SECRET,))
    answer = ReviewAnswer.no(error)
    assert (answer.about, answer.sentence) == ((), "the bundle cannot be run")


@pytest.mark.parametrize(
    "reply",
    [
        {"accepted": True, "notice": '{"code":"denied"}'},
        {"accepted": True, "about": ["\x1b[2J"]},
        {"accepted": True, "about": ["x" * 401]},
        {"accepted": True, "about": ["x"] * 21},
        {},
        {"notice": SECRET},
        {"notice": '{"code":"denied"}', "about": [SECRET]},
        {"notice": '{"code":"policy-failed"}', "about": [SECRET]},
        {"notice": '{"code":"request-changed"}', "about": [SECRET]},
        {"notice": '{"code":"lacks-dataset"}', "about": [SECRET]},
        {"notice": '{"code":"guard-closed"}', "about": ["w\u00f6rd"]},
        {"notice": '{"code":"guard-closed"}', "about": [""]},
    ],
)
def test_anything_else_is_no_answer(reply: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage):
        ReviewAnswer.read(pb.OfferReply(job="job-1", **reply))
