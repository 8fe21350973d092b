"""Three functions. Its module is loaded by its path: what it imports stands in it."""

from pathlib import Path

from arithmetic import beginning, update, wait


def initial(config):
    return {"w": beginning()}


def train(model, data, config):
    wait(config["hold"], config["pause"])
    site = int(str(Path.cwd()).partition("site-")[2][0])
    return {"w": update(model["w"], site)}, 1, {}


def evaluate(model, data, config):
    return 1, {}
