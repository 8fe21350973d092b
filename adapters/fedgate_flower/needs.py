"""What an app's results need of a site's guard beyond its strict rules.

An app says so in ``[tool.fedgate] guard`` of its ``pyproject.toml``. Of what Flower itself brings,
some is known to need more; it is found by its name in the app's files, none of which is run. What
is missed here is refused at run time instead, by the name of the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fedgate.bundle import BundleTree

_LARGEST = 1024 * 1024
#: Masked models and shares of keys travel as bytes in a ConfigRecord.
_SECURE_SUM_BYTES = 16 * 1024 * 1024
_BOOSTING = re.compile(r"\bFedXgb(?:Bagging|Cyclic)\b")
_SECURE_SUM = re.compile(r"\bSecAgg(?:Plus)?Workflow\b")
_OLDER_SERVER = re.compile(r"\b(?:ServerAppComponents|ServerConfig|DefaultWorkflow)\b")
#: Without either, the server asks some site for the first weights.
_FIRST_WEIGHTS = re.compile(r"\b(?:initial_parameters\s*=|def\s+initialize_parameters\b)")
_HANDLER = re.compile(r"^@\w+\.(evaluate|query)\b", re.MULTILINE)
_TOP_LEVEL = re.compile(r"^@", re.MULTILINE)


def guard_of(tree: BundleTree) -> tuple[str, ...]:
    """Lines as :class:`fedgate.guard_rules.Need` reads them."""
    texts = [
        bytes(content[:_LARGEST]).decode("utf-8", "replace")
        for path, content in tree.items()
        if path.endswith(".py")
    ]
    return tuple(sorted(set(_found(texts))))


def _found(texts: list[str]) -> Iterator[str]:
    if any(map(_BOOSTING.search, texts)):  # trees are bytes, and grow
        yield 'train.arrays = "unchecked"'
        yield 'train.dtypes = ["U8"]'
    if any(map(_SECURE_SUM.search, texts)):
        yield f"train.body_bytes = {_SECURE_SUM_BYTES}"
    if any(map(_OLDER_SERVER.search, texts)) and not any(map(_FIRST_WEIGHTS.search, texts)):
        yield 'query.arrays = "unchecked"'
    for text in texts:
        for handler in _HANDLER.finditer(text):
            after = _TOP_LEVEL.search(text, handler.end())
            if "ArrayRecord(" in text[handler.end() : after.start() if after else None]:
                yield f'{handler[1]}.arrays = "unchecked"'
