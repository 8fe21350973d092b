"""Documentation is tested: generated pages are fresh, links lead somewhere, ADRs are listed."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md"])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


@pytest.mark.parametrize(
    "page", ["reference/configuration.md", "reference/cli.md", "reference/capabilities.md"]
)
def test_reference_pages_say_what_the_code_says(generate: ModuleType, page: str) -> None:
    assert (DOCS / page).read_text("utf-8") == generate.PAGES[page](), "run `make docs`"


def test_every_key_of_a_configuration_file_says_what_it_means(generate: ModuleType) -> None:
    rows = generate.PAGES["reference/configuration.md"]().splitlines()
    silent = [row for row in rows if row.startswith("| `") and row.endswith("|  |")]
    assert not silent, "write a `#:` comment above the field"


def test_every_generated_page_is_compared(generate: ModuleType) -> None:
    assert len(generate.PAGES) == 3


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(path.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), target


def anchors(path: Path) -> set[str]:
    """As GitHub makes them from headings, and explicit ones."""
    text = path.read_text("utf-8")
    explicit = set(re.findall(r'<a id="([^"]+)">', text))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return explicit | {
        re.sub(r"[^\w\- ]", "", re.sub(r"<[^>]+>", "", h).strip().lower()).replace(" ", "-")
        for h in headings
    }


def test_every_decision_is_listed_in_the_index_and_says_why() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    records = sorted((DOCS / "adr").glob("*.md"))
    assert len(records) >= 15
    for number, record in enumerate(records, 1):
        assert record.name.startswith(f"{number:04}-"), "numbers have no gaps"
        assert f"adr/{record.name}" in index, record.name
        text = record.read_text("utf-8")
        assert text.startswith(f"# {number}. ")
        for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in text, f"{record.name}: {part}"
        assert len(text.splitlines()) < 60, "one page"


def test_every_page_can_be_found_from_the_index() -> None:
    index = (DOCS / "index.md").read_text("utf-8")
    for page in DOCS.rglob("*.md"):
        assert page.name == "index.md" or str(page.relative_to(DOCS)) in index, page


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_folders_that_pages_name_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:core|gateway|adapters|proto|plugins|tests|examples|benchmarks)/[\w./-]+)`",
        path.read_text("utf-8"),
    )
    assert not [name for name in named if not (ROOT / name).exists()]


def test_commands_in_the_prose_exist() -> None:
    """`fedgate word word` in a page is a command that the CLI has."""
    import typer

    from fedgate_gateway.cli.main import build

    root = typer.main.get_command(build())
    for page in PAGES:
        text = page.read_text("utf-8")
        said = r"(?:^|`|\$ )fedgate ((?:[a-z][a-z-]* ?){1,2})"
        for match in re.finditer(said, text, re.MULTILINE):
            node = root
            for word in match[1].split():
                children = getattr(node, "commands", {})
                if not children:
                    break
                if word not in children and node.callback is not None:
                    break
                assert word in children, f"{page.name}: fedgate {match[1]}"
                node = children[word]
