"""Swarm learning: a site that gathers a round takes no result of another one, nor a late one.

FLARE's gatherer adds a result of an earlier round to the round that is on, and one that comes while
the round is being aggregated to whatever the aggregator does next. See ``window`` for the server.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from nvflare.apis.shareable import ReturnCode, make_reply
from nvflare.app_common.app_constant import AppConstants

from fedgate_flare.window import GRACE

_MODULE = "nvflare.app_common.ccwf.swarm_client_ctl"
_CLOSED = "_fedgate_closed"
_LOG = logging.getLogger("fedgate.flare")


def guard() -> None:
    """For the swarm controllers of this process, if the job has loaded them."""
    if _MODULE in sys.modules:
        guard_gatherer(sys.modules[_MODULE].Gatherer)


def guard_gatherer(gatherer: Any) -> None:
    take, check_done = gatherer._do_gather, gatherer.is_done

    def do_gather(self: Any, client_name: str, result: Any, fl_ctx: Any) -> Any:
        """Called under the gatherer's lock."""
        round_ = result.get_header(AppConstants.CURRENT_ROUND)
        if (isinstance(round_, int) and round_ < self.for_round) or getattr(self, _CLOSED, False):
            _LOG.warning(
                "the result of %s for round %s came after that round: dropped", client_name, round_
            )
            return make_reply(ReturnCode.OK)  # as FLARE answers when it gathers nothing
        return take(self, client_name, result, fl_ctx)

    def is_done(self: Any) -> bool:
        with self.lock:
            self.wait_time_after_min_resps_received = max(
                GRACE, self.wait_time_after_min_resps_received
            )
            done = bool(check_done(self))
            setattr(self, _CLOSED, done)
            return done

    gatherer._do_gather, gatherer.is_done = do_gather, is_done
