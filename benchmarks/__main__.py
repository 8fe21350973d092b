"""python -m benchmarks [--quick] [--only KEYS] [--skip-native] [--skip-phases] [--skip-sites]"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from benchmarks import floor, machine, native_flare, native_flower, ours, phases, sites
from benchmarks.report import Measured, Report
from benchmarks.work import Run, Work, works

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"
SITE_COUNTS = {"flower": (2, 8, 32), "flare": (2, 8)}
SITE_ROUNDS = 3
NATIVE = {"flower": native_flower.run, "flare": native_flare.run}


def main() -> int:
    options = arguments()
    chosen = [w for w in works(quick=options.quick) if not options.only or w.key in options.only]
    described = machine.describe()
    measured = [Measured(work) for work in chosen]
    with tempfile.TemporaryDirectory(prefix="fedgate-bench-") as name:
        root = Path(name)
        say("the floor")
        size = max(max(w.floats for w in chosen) * 4, 20_000_000)
        floors = floor.measure(size)
        if not options.skip_native:
            for m in measured:
                say(f"native: {m.work.title}")
                m.native = attempt(m, "native", lambda w, f: NATIVE[w.framework](w, f), root)
        for m in measured:  # a federation each: peaks of memory belong to one work
            say(f"ours: {m.work.title}")
            m.ours = attempt(m, "ours", run_ours, root)
        if not options.skip_phases:
            for m in measured:
                say(f"phases: {m.work.title}")
                m.phases = attempt(m, "phases", phases.measure, root) or {}
    report = Report(described, measured, floors, size)
    if not options.skip_sites:
        report.sites, report.sites_failed = many_sites(quick=options.quick)
    written = write(report, options.results, quick=options.quick)
    print(f"\n{report.summary()}\n\nwritten: {written}")
    failures = [*(text for m in measured for text in m.failures), *report.sites_failed]
    for text in failures:
        print(text, file=sys.stderr)
    return 1 if failures else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    keys = [w.key for w in works(quick=False)]
    parser.add_argument("--only", type=lambda t: t.split(","), help=f"of {','.join(keys)}")
    parser.add_argument("--quick", action="store_true", help="20 MB instead of 100, few rounds")
    parser.add_argument("--skip-native", action="store_true", help="native columns say n/a")
    parser.add_argument("--skip-phases", action="store_true", help="do not ask where time goes")
    parser.add_argument("--skip-sites", action="store_true", help="two sites only, not up to 32")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    unknown = set(options.only or ()) - set(keys)
    if unknown:
        parser.error(f"no such work: {', '.join(sorted(unknown))}; there are {', '.join(keys)}")
    return options


def run_ours(work: Work, folder: Path) -> Run:
    with ours.federation(folder) as made:
        return ours.run(work, folder, made)


def many_sites(*, quick: bool) -> tuple[list[sites.Measured], list[str]]:
    """The work with 100 MB on more and more sites; failures as text."""
    rows, failed = [], []
    for framework, counts in SITE_COUNTS.items():
        for count in counts[:2] if quick else counts:
            say(f"ours: {framework}, {count} sites")
            try:
                rows.append(sites.measure(framework, count, 20 if quick else 100, SITE_ROUNDS))
            except Exception as error:
                failed.append(f"{framework}, {count} sites: {type(error).__name__}: {error}"[:2000])
    return rows, failed


def attempt(m: Measured, what: str, run: Callable[[Work, Path], T], root: Path) -> T | None:
    """One measurement in a folder of its own; a failure costs its own cells and no others."""
    folder = root / f"{what}-{m.work.key}"
    folder.mkdir()
    try:
        return run(m.work, folder)
    except Exception as error:
        m.failures.append(f"{what}: {type(error).__name__}: {error}"[:2000])
        return None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write(report: Report, folder: Path, *, quick: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem = datetime.now(UTC).strftime("%Y-%m-%dT%H%MZ") + ("-quick" if quick else "")
    path = folder / f"{stem}.md"
    path.write_text(report.markdown(), "utf-8")
    path.with_suffix(".json").write_text(json.dumps(report.data(), indent=1) + "\n", "utf-8")
    return path


def say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
