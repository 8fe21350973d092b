"""Plain Python whose coordinator and sites say all that they can, and fail in many ways."""

import sys
import time

import numpy as np
from plants import NUMBER, ROUND, fail_as, here, planted, say, word

from fedgate.task import Result
from fedgate_gateway.child import notes
from fedgate_plain import adapter

#: What site-2 does in each round of training; in the last one all is well.
FAILS = ("exception", "key", "exit", "beyond", "object", "name", "infinite", "late")


def initial(config):
    say("plain coordinator")
    speak()
    end(config)
    return {"w": planted("planted model", config["size"]), word("plain tensor"): number()}


def number():
    return np.array([float(NUMBER)])


def speak():
    """Ids of tasks and numbers of rounds are words; so are names and values of metrics."""
    task, mean = adapter.Task, adapter._mean
    marked = word("plain task id")
    adapter.Task = lambda name, site, kind, number, **more: task(
        marked + name, site, kind, ROUND + number - 1, **more
    )
    name = word("plain published metric")
    adapter._mean = lambda results: {**mean(results), name: float(NUMBER)}


def end(config):
    """How the coordinator ends, after its last round."""
    mean, rounds = adapter.weighted_mean, config["rounds"]

    def averaged(updates):
        end.rounds += 1
        if end.rounds == rounds and config["ends"] == "badly":
            forge("plain coordinator")
        first = updates[0][0].signature()
        return mean([(model, weight) for model, weight in updates if model.signature() == first])

    adapter.weighted_mean = averaged


end.rounds = 0


def forge(place):
    """Messages to the parent that no adapter sends."""
    frame = sys._getframe()
    while not hasattr(port := frame.f_locals.get("port"), "send"):
        frame = frame.f_back
    if place.endswith("site"):
        forged = Result(word(f"{place} result's task"), word(f"{place} result's name"))
        port.send("result", note=notes.result_note(forged))
    else:
        error = {k: word(f"{place} error {k}") for k in ("code", "what", "why", "remedy")}
        port.send("failed", error=error)
        port.send(word(f"{place} message"), **{word(f"{place} field"): word(f"{place} value")})
    time.sleep(5)  # its parent ends it


def train(model, data, config):
    train.rounds += 1
    if train.rounds == 1:
        say("plain site")
    metrics = {word("plain metric"): float(NUMBER), "accuracy": 0.5}
    update = {**model, "w": planted("planted update", config["size"])}
    if here() == "site-2" and train.rounds <= len(FAILS):
        does = FAILS[train.rounds - 1]
        fail_as(does, "plain site")
        if does == "object":
            metrics[word("plain object")] = object()
        if does == "name":
            update[word("plain refused tensor")] = number()
        if does == "infinite":
            update["w"] = update["w"] * np.float32(np.nan)
        if does == "late" and config["ends"] == "badly":
            forge("plain site")
        if does == "late":
            time.sleep(config["pause"])
    return update, ROUND, metrics


train.rounds = 0


def evaluate(model, data, config):
    return ROUND, {word("plain evaluated metric"): float(NUMBER)}
