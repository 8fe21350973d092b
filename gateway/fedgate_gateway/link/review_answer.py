"""What a site answers in review: a code and its numbers, and what that code speaks of.

There is no field for a text. A few codes name things, in bounded characters: what the job asked
for or depends on, lines of the guard that are missing. A yes, and a no by policy, come with the
sentences that the owner wrote into its policy; a workload chooses none of them, and whoever submits
is meant to read them. What else an error says, of a stranger's files or of this site's machine,
stays at the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, final

from fedgate.codes import Code
from fedgate.errors import FedgateError, InvalidMessage
from fedgate.notice import Notice, public, read_notice
from fedgate_proto.v1 import link_pb2 as pb

#: How a yes says that files which the request asks for stay, before the owner's sentences.
KEEPS_FILES: Final = "but it keeps the files that its worker leaves"
#: Names or sentences in one answer, and characters of a sentence.
_MOST: Final = 20
_SENTENCE: Final = 400
_LINE: Final = re.compile(r"[ -~]{1,200}")
_OTHER: Final = re.compile(r"[^ -~]")
#: Code -> what the names look like that it comes with; all others come with none.
_NAMES: Final[Mapping[Code, re.Pattern[str]]] = {
    Code.REQUEST_CHANGED: re.compile(r"[a-z_]{1,32}"),
    Code.LACKS_DATASET: re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"),
    Code.LACKS_RESOURCES: _LINE,
    Code.SITE_LACKS_DEPENDENCIES: _LINE,
    Code.GUARD_CLOSED: _LINE,
}


@final
@dataclass(frozen=True)
class ReviewAnswer:
    """Raises :class:`InvalidMessage` for what no answer can say."""

    #: None: the site takes part.
    notice: Notice | None
    #: Names, or sentences of the owner's policy.
    about: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.about) > _MOST or not all(_fits(self.notice, text) for text in self.about):
            raise InvalidMessage("a site's answer names what its code does not speak of")

    @classmethod
    def yes(cls, sentences: Iterable[str]) -> ReviewAnswer:
        return cls(None, _bounded(None, sentences))

    @classmethod
    def no(cls, error: FedgateError) -> ReviewAnswer:
        notice = public(error)
        return cls(notice, _bounded(notice, error.about))

    @classmethod
    def read(cls, reply: pb.OfferReply) -> ReviewAnswer:
        """Raises :class:`InvalidMessage` for anything that :meth:`reply` does not write."""
        if reply.accepted:
            if reply.notice:
                raise InvalidMessage("a site accepts a job and says why not")
            return cls(None, tuple(reply.about))
        try:
            return cls(read_notice(reply.notice), tuple(reply.about))
        except ValueError as error:
            raise InvalidMessage("a site declines a job without a notice") from error

    def reply(self, job: str, policy_digest: bytes) -> pb.OfferReply:
        return pb.OfferReply(
            job=job,
            accepted=self.notice is None,
            notice="" if self.notice is None else self.notice.to_text(),
            about=self.about,
            policy_digest=policy_digest,
        )

    @property
    def sentence(self) -> str:
        """For people: what happened, of what, and (what to do)."""
        if self.notice is None:
            return "; ".join(self.about)
        told, opened, remedy = self.notice.sentence.partition(" (")
        between = "; " if self.notice.code is Code.POLICY_DECLINES else ", "
        what = f": {between.join(self.about)}" if self.about else ""
        return f"{told}{what}{opened}{remedy}"


def _fits(notice: Notice | None, text: str) -> bool:
    if notice is None or notice.code is Code.POLICY_DECLINES:
        return 0 < len(text) <= _SENTENCE and text.isprintable()
    names = _NAMES.get(notice.code)
    return names is not None and names.fullmatch(text) is not None


def _bounded(notice: Notice | None, texts: Iterable[str]) -> tuple[str, ...]:
    """As much of it as an answer can say."""
    if notice is None or notice.code is Code.POLICY_DECLINES:
        told = ["".join(c if c.isprintable() else " " for c in t)[:_SENTENCE] for t in texts]
    else:
        told = [_OTHER.sub("_", text)[:200] for text in texts]
    return tuple(text for text in told if _fits(notice, text))[:_MOST]
