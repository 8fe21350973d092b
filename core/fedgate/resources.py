"""What a site has of something that jobs ask it for, such as GPUs, and what jobs hold of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

#: Resource -> how much of it.
Amounts = Mapping[str, float]
_EACH = "_per_"


def held_by_others(wanted: Amounts, have: Amounts, held: Iterable[Amounts]) -> list[str]:
    """In words, what a job wants and cannot have as long as others run.

    Nothing of what a site has not declared, or has too little of at any time: such a job waits for
    nobody. Nor what is a property of each of something, as ``mem_per_gpu_in_GiB``: no job uses it
    up.
    """
    others = list(held)
    found = []
    for name, amount in sorted(wanted.items()):
        if _EACH in name:
            continue
        taken = sum(other.get(name, 0.0) for other in others)
        if 0 < amount <= have.get(name, 0.0) < amount + taken:
            found.append(f"{name} = {amount:g} ({have[name]:g} declared, {taken:g} in use)")
    return found
