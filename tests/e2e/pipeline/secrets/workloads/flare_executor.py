"""A FLARE executor that fails as it is asked to, or cannot even be made."""

import numpy as np
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply
from plants import NUMBER, ROUND, fail_as, here, say, word


class Unmade(Executor):
    def __init__(self, ends):
        super().__init__()
        if ends == "badly" and here() == "site-2":
            fail_as("exception", "flare constructor")

    def execute(self, task_name, shareable, fl_ctx, abort_signal):
        does = shareable.get_header("does")
        if does != "well" and here() == "site-1":
            does = "answer"  # a task that nobody answers ends the job
        fail_as(does, "flare site")
        data = from_shareable(shareable).data
        if does == "code":
            return make_reply(word("flare return code"), {word("flare reply"): word("flare reply")})
        if does == "type":
            return word("flare object")
        if does == "object":
            return DXO(DataKind.WEIGHTS, data={word("flare function"): lambda: 1}).to_shareable()
        if does == "header":
            reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
            reply.set_header(word("flare reply's header"), word("flare reply's value"))
            reply.set_peer_props({word("flare reply's property"): word("flare reply's props")})
            return reply
        if does == "metrics":
            return DXO(DataKind.METRICS, data={word("flare metric"): float(NUMBER)}).to_shareable()
        if does == "name":
            data[word("flare refused tensor")] = np.ones(1)
        if does == "well":
            say("flare site")
            fl_ctx.set_prop(word("flare site's property"), NUMBER, private=False, sticky=True)
            topic, told = word("flare site's topic"), Shareable({word("flare noise"): NUMBER})
            fl_ctx.get_engine().fire_and_forget_aux_request(topic, told, fl_ctx)
        reply = DXO(DataKind.WEIGHTS, data=data)
        reply.set_meta_prop(word("flare meta"), word("flare meta's value"))
        reply.set_meta_prop(MetaKey.NUM_STEPS_CURRENT_ROUND, ROUND)
        reply.set_meta_prop(MetaKey.INITIAL_METRICS, {word("flare initial metric"): float(NUMBER)})
        return reply.to_shareable()
