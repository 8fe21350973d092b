"""Commands that need no gateway: policies, plugins, and an exported log."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine

from fedgate_gateway.audit import AuditLog, LogSigner, export
from fedgate_gateway.audit.tables import create_tables
from fedgate_gateway.cli.new_profile import write_profile

EXAMPLES = Path(__file__).parents[2] / "examples"
SITE = EXAMPLES / "policies" / "site.cedar"
GATEWAY = EXAMPLES / "policies" / "gateway.cedar"
DIGITS = EXAMPLES / "flare-digits" / "job"


def test_the_demo_s_policies_load(fedgate):
    ran = fedgate("policy", "check", SITE, GATEWAY, "--format", "json")
    assert ran.code == 0
    assert [one["problems"] for one in ran.json["policies"]] == [[], []]


def test_a_policy_that_would_not_load_is_told_and_exits_with_78(fedgate, tmp_path):
    wrong = tmp_path / "wrong.cedar"
    wrong.write_text('permit (principal, action == Action::"jion", resource);')
    ran = fedgate("policy", "check", SITE, wrong)
    assert ran.code == 78
    assert f"{SITE}: ok" in ran.out
    assert f"{wrong}: wrong" in ran.out


def explain(fedgate, *more):
    return fedgate("policy", "explain", SITE, DIGITS, "--datasets", "digits", *more)


@pytest.fixture
def project(tmp_path) -> Path:
    file = tmp_path / "demo.toml"
    file.write_text('name = "demo"\nmembers = {}\n[release]\nminimum_cohort = 2\n')
    return file


def test_a_job_that_a_site_would_take_is_explained_by_the_rule_that_permits_it(fedgate, project):
    ran = explain(fedgate, "--project-file", project, "--format", "json")
    assert ran.code == 0
    told = ran.json
    assert told["allowed"] is True
    assert [rule["id"] for rule in told["rules"] if rule["decided"]] == ["demo-training"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (["--evidence", "other"], "trusted-enclave"),
        (["--datasets", "payroll"], "known-datasets"),
        (["--sites", "site-1"], "not-alone"),
    ],
)
def test_a_job_that_a_site_would_deny_names_the_rule_and_exits_with_77(
    fedgate, project, change, rule
):
    ran = explain(fedgate, "--project-file", project, *change)
    assert ran.code == 77
    assert f"forbid {rule} applies" in ran.out


def test_the_gateway_s_policy_is_asked_about_submitting(fedgate):
    arguments = ("policy", "explain", GATEWAY, DIGITS, "--action", "submit", "--format", "json")
    assert fedgate(*arguments).json["allowed"] is True
    assert fedgate(*arguments, "--project", "another").code == 77


def test_plugins_are_listed_without_being_loaded(fedgate):
    found = {
        (p["group"], p["name"]) for p in fedgate("plugin", "list", "-f", "json").json["plugins"]
    }
    assert {
        ("fedgate.adapters", "flower"), ("fedgate.adapters", "flare"),
        ("fedgate.sandboxes", "bubblewrap"), ("fedgate.verifiers", "simulated"),
    } <= found  # fmt: skip


def test_a_plugin_is_checked_by_loading_it(fedgate):
    ran = fedgate("plugin", "check", "flower", "--format", "json")
    assert ran.code == 0
    assert ran.json["framework"] == "flower"
    assert {c["grade"] for c in ran.json["capabilities"]} <= {"full", "partial", "unsupported"}
    assert fedgate("plugin", "check", "no-such").code == 69


@pytest.fixture
def exported(tmp_path) -> tuple[Path, str]:
    engine = create_engine(f"sqlite:///{tmp_path / 'log.db'}")
    create_tables(engine)
    log = AuditLog(engine, LogSigner.open(tmp_path / "audit.key"))
    for number in range(5):
        log.append("test.happened", {"number": number}, actor="tester")
    path = tmp_path / "log.jsonl"
    export(log, path)
    engine.dispose()
    return path, str(log.verifier)


def test_an_exported_log_verifies_offline_with_its_key(fedgate, exported):
    path, key = exported
    ran = fedgate("audit", "verify", path, "--key", key, "--format", "json")
    assert ran.code == 0
    assert (ran.json["ok"], ran.json["entries"]) == (True, 5)


def test_a_changed_entry_is_found_and_exits_with_76(fedgate, exported):
    path, key = exported
    path.write_bytes(path.read_bytes().replace(b'"number":3', b'"number":4'))
    ran = fedgate("audit", "verify", path, "--key", key, "--format", "json")
    assert ran.code == 76
    assert ran.json["ok"] is False
    assert any("entry 3" in problem for problem in ran.json["problems"])


def test_a_log_without_anybody_s_key_does_not_count_as_verified(fedgate, exported):
    ran = fedgate("audit", "verify", exported[0])
    assert ran.code == 76
    assert "anybody could have made it" in ran.err


def test_a_log_that_was_rewritten_since_an_older_checkpoint_is_found(fedgate, exported, tmp_path):
    path, key = exported
    first = fedgate("audit", "verify", path, "--key", key, "--format", "json").json
    (tmp_path / "kept").write_text(first["checkpoint"])
    assert fedgate("audit", "verify", path, "--key", key, "--older", tmp_path / "kept").code == 0
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    ran = fedgate("audit", "verify", path, "--key", key, "--older", tmp_path / "kept")
    assert ran.code == 76


@pytest.fixture
def forged(tmp_path, exported) -> Path:
    """A later log of the same key that says something else of the past: only its gateway can."""
    engine = create_engine(f"sqlite:///{tmp_path / 'forged.db'}")
    create_tables(engine)
    log = AuditLog(engine, LogSigner.open(tmp_path / "audit.key"))
    for number in range(8):
        log.append("test.happened", {"number": 99 if number == 3 else number}, actor="tester")
    path = tmp_path / "forged.jsonl"
    export(log, path)
    engine.dispose()
    return path


@pytest.fixture
def profile(tmp_path, exported) -> Path:
    path = tmp_path / "home" / "profile.toml"
    path.parent.mkdir()
    write_profile(
        path, api="https://127.0.0.1:1", project="demo", audit_key=exported[1], enclaves={}
    )
    return path


def test_a_log_that_its_own_gateway_rewrote_fails_against_what_the_profile_kept(
    fedgate, exported, forged, profile, tmp_path
):
    kept = ("audit", "verify", "--profile", profile, "--format", "json")
    first = fedgate(*kept, exported[0])
    assert first.code == 0
    assert first.json["compared"].startswith("nothing kept: this profile has verified no log")
    ran = fedgate(*kept, forged)
    assert ran.code == 76
    assert "the first 5 entries are not those signed before" in ran.err
    assert str(profile.parent) in ran.err
    assert fedgate(*kept, forged, "--key", exported[1]).code == 76  # --key is no way around it
    assert fedgate(*kept, exported[0]).json["compared"].startswith("the checkpoint kept in")
    by_itself = fedgate("audit", "verify", forged, "--key", exported[1], "--format", "json")
    assert by_itself.code == 0  # there is no profile to remember anything, and that is said
    assert by_itself.json["compared"].startswith("nothing kept: there is no profile")


def test_a_log_that_was_cut_short_fails_and_the_newer_checkpoint_stays(
    fedgate, exported, forged, profile
):
    kept = ("audit", "verify", "--profile", profile)
    assert fedgate(*kept, forged).code == 0
    for _ in range(2):
        ran = fedgate(*kept, exported[0])
        assert ran.code == 76
        assert "8 entries were signed before, 5 are here" in ran.err
    assert fedgate(*kept, forged).code == 0


def test_profiles_of_two_gateways_in_one_folder_keep_a_checkpoint_each(
    fedgate, exported, profile, tmp_path
):
    engine = create_engine(f"sqlite:///{tmp_path / 'other.db'}")
    create_tables(engine)
    log = AuditLog(engine, LogSigner.open(tmp_path / "other.key"))
    log.append("test.happened", {}, actor="tester")
    export(log, tmp_path / "other.jsonl")
    engine.dispose()
    other = profile.with_name("other.toml")
    write_profile(other, api="https://127.0.0.1:1", project="demo", audit_key=str(log.verifier),
                  enclaves={})  # fmt: skip
    for _ in range(2):
        assert fedgate("audit", "verify", exported[0], "--profile", profile).code == 0
        assert fedgate("audit", "verify", tmp_path / "other.jsonl", "--profile", other).code == 0
    assert len(list(profile.parent.glob("audit-checkpoint-*"))) == 2
