"""Which adapter a workload is for: one that fails or lies does not decide for the others."""

from __future__ import annotations

import pytest

from fedgate import plugins
from fedgate.bundle import BundleTree
from fedgate.errors import AdapterFailed, Conflict, PluginUnavailable, UnknownFramework

TREE = BundleTree({"app.py": b""})


class Says:
    def __init__(self, answer):
        self.answer = answer

    def recognises(self, tree):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def installed(monkeypatch):
    """Adapters by name, with what they answer."""

    def install(**answers):
        def load(name, *, allowed=None):
            if isinstance(answers[name], PluginUnavailable):
                raise answers[name]
            return Says(answers[name])

        monkeypatch.setattr(plugins, "names", lambda _group: sorted(answers))
        monkeypatch.setattr(plugins, "load_adapter", load)

    return install


@pytest.mark.parametrize("failing", [RuntimeError("x"), PluginUnavailable("does not load")])
def test_one_that_fails_is_passed_over(installed, failing):
    installed(a=failing, b=True, c=failing)
    assert plugins.recognise(TREE).answer is True


def test_one_that_fails_is_named_when_nobody_else_recognises(installed):
    installed(a=False, bad=RuntimeError("what it said"))
    with pytest.raises(AdapterFailed, match=r"'bad'.*what it said"):
        plugins.recognise(TREE)


def test_one_that_does_not_load_is_named_when_nobody_else_recognises(installed):
    installed(a=False, bad=PluginUnavailable("bad does not load"))
    with pytest.raises(PluginUnavailable, match="bad does not load"):
        plugins.recognise(TREE)


def test_of_two_that_recognise_it_none_wins(installed):
    installed(a=True, b=False, c=True, d=RuntimeError("x"))
    with pytest.raises(Conflict, match="a, c"):
        plugins.recognise(TREE)


def test_none(installed):
    installed(a=False, b=False)
    with pytest.raises(UnknownFramework, match=r"a, b.*app\.py"):
        plugins.recognise(TREE)


def test_installed_ones_do_not_dispute_a_workload_with_files_of_both():
    both = BundleTree({"plain.toml": b"", "meta.json": b"{}"})
    with pytest.raises(Conflict, match="flare, plain"):
        plugins.recognise(both)


def test_broken_toml_is_recognised_and_told_with_its_line():
    broken = b'[project]\nname = "x"\n[tool.flwr.app]\npublisher = \n'
    adapter = plugins.recognise(BundleTree({"pyproject.toml": broken}))
    with pytest.raises(Exception, match=r"not valid TOML.*line 4"):
        adapter.inspect(BundleTree({"pyproject.toml": broken}))
    with pytest.raises(UnknownFramework):
        plugins.recognise(BundleTree({"pyproject.toml": b"[tool.other]\nx = \n"}))
