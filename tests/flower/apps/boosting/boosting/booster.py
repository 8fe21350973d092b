"""A booster in xgboost's JSON: a real one, or one of the same shape where xgboost is missing."""

import json

import numpy as np

try:
    import xgboost
except ImportError:
    xgboost = None


def grown(model, site):
    """One tree more on a site's data; ``model`` is the booster so far, or nothing."""
    return _real(model, site) if xgboost else _imitated(model, site)


def _real(model, site):
    rng = np.random.default_rng(site)
    inputs = rng.standard_normal((60, 4)).astype(np.float32)
    data = xgboost.DMatrix(inputs, label=(inputs[:, 0] > site * 0.1).astype(np.float32))
    booster = xgboost.Booster(
        {"max_depth": 2, "nthread": 1, "objective": "binary:logistic"}, [data]
    )
    if model:
        booster.load_model(bytearray(model))
    booster.update(data, booster.num_boosted_rounds())
    newest = booster[booster.num_boosted_rounds() - 1 :]
    return bytes(newest.save_raw("json")), bytes(booster.save_raw("json"))


def _imitated(model, site):
    trees = json.loads(model)["learner"]["gradient_booster"]["model"]["trees"] if model else []
    tree = {"id": 0, "split_conditions": [site * 0.5, len(trees)], "left_children": [1, -1]}
    return _json([tree]), _json([*trees, tree])


def _json(trees):
    model = {
        "gbtree_model_param": {"num_trees": str(len(trees)), "num_parallel_tree": "1"},
        "iteration_indptr": list(range(len(trees) + 1)),
        "tree_info": [0] * len(trees),
        "trees": trees,
    }
    return json.dumps({"learner": {"gradient_booster": {"model": model}}}).encode()
