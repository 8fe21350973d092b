"""Writes the reference pages that are made from the code: `make docs`. A test compares them."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from reference import capabilities, commands, configuration  # noqa: E402

PAGES = {
    "reference/configuration.md": configuration.page,
    "reference/cli.md": commands.page,
    "reference/capabilities.md": capabilities.page,
}


def main() -> int:
    """``--check`` writes nothing and ends with 1 when a page is out of date."""
    check = sys.argv[1:] == ["--check"]
    stale = []
    for name, make in PAGES.items():
        path, text = HERE / name, make()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, "utf-8")
    print("\n".join(f"{'stale' if check else 'written'}: docs/{name}" for name in stale) or "ok")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
