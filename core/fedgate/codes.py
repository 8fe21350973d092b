"""Every reason that may be said in public, each with the one sentence that says it.

What a gateway hears, stores and shows of how something ended is one of these codes and the numbers
that its sentence names. A workload chooses none of the words.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping


class Code(enum.StrEnum):
    # one for each class of :mod:`fedgate.errors`, where nothing more may be said
    INTERNAL = "internal"
    INVALID_BUNDLE = "invalid-bundle"
    BUNDLE_TOO_LARGE = "bundle-too-large"
    UNKNOWN_FRAMEWORK = "unknown-framework"
    UNSUPPORTED_VERSION = "unsupported-version"
    INSPECTION_FAILED = "inspection-failed"
    INVALID_MODEL = "invalid-model"
    INVALID_MESSAGE = "invalid-message"
    INVALID_CONFIG = "invalid-config"
    INVALID_TRANSITION = "invalid-transition"
    WORKLOAD_FAILED = "workload-failed"
    ALL_TASKS_FAILED = "all-tasks-failed"
    ADAPTER_FAILED = "adapter-failed"
    PLUGIN_UNAVAILABLE = "plugin-unavailable"
    DENIED = "denied"
    UNAUTHENTICATED = "unauthenticated"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    UNAVAILABLE = "unavailable"
    DEADLINE_EXCEEDED = "deadline-exceeded"
    LIMIT_REACHED = "limit-reached"
    SEAL_BROKEN = "seal-broken"
    EVIDENCE_REJECTED = "evidence-rejected"

    # a job that an enclave does not take
    UNKNOWN_PROJECT = "unknown-project"
    NO_ROOM = "no-room"
    RESOURCES_HELD = "resources-held"
    LACKS_DEPENDENCIES = "lacks-dependencies"
    NOT_A_MEMBER = "not-a-member"
    NO_RECIPIENT = "no-recipient"
    UNKNOWN_RECIPIENT = "unknown-recipient"
    OTHER_BUNDLE = "other-bundle"
    NOT_SIGNED = "not-signed"
    REQUEST_CHANGED = "request-changed"
    REQUEST_EXPIRED = "request-expired"
    REQUEST_TOO_EARLY = "request-too-early"
    REQUEST_TOO_LONG = "request-too-long"
    REQUEST_REPEATED = "request-repeated"

    # why a site declines in review
    NO_SUCH_PROJECT = "no-such-project"
    LACKS_DATASET = "lacks-dataset"
    LACKS_RESOURCES = "lacks-resources"
    SITE_LACKS_DEPENDENCIES = "site-lacks-dependencies"
    GUARD_CLOSED = "guard-closed"
    NO_SERIES = "no-series"
    NO_TRAINERS = "no-trainers"
    NO_EVIDENCE = "no-evidence"
    TOO_FEW_FOR_WORKLOAD = "too-few-for-workload"
    POLICY_DECLINES = "policy-declines"
    POLICY_FAILED = "policy-failed"

    # how a job ends
    TOO_FEW_SITES = "too-few-sites"
    LOST_TOO_MANY_SITES = "lost-too-many-sites"
    NOT_STARTED_IN_TIME = "not-started-in-time"
    JOB_TOO_LONG = "job-too-long"
    CANCELLED = "cancelled"
    HOST_STOPPING = "host-stopping"
    SCRATCH_FULL = "scratch-full"
    TOO_MANY_PROCESSES = "too-many-processes"
    TOO_MUCH_MEMORY = "too-much-memory"
    DOES_NOT_START = "does-not-start"
    DOES_NOT_READ = "does-not-read"
    DOES_NOT_END = "does-not-end"
    COORDINATOR_DIED = "coordinator-died"
    COHORT_TOO_SMALL = "cohort-too-small"
    ARTIFACTS_COHORT_TOO_SMALL = "artifacts-cohort-too-small"
    LOGS_COHORT_TOO_SMALL = "logs-cohort-too-small"
    TOO_FEW_FOR_PROJECT = "too-few-for-project"
    ARTIFACTS_TOO_LARGE = "artifacts-too-large"
    LOG_FAILED = "log-failed"

    # what becomes of files that a site's worker left
    FILES_NOT_ASKED = "files-not-asked"
    FILES_NOT_IN_PROJECT = "files-not-in-project"
    FILES_NOT_PERMITTED = "files-not-permitted"
    FILES_TOO_LARGE = "files-too-large"
    FILES_JOB_FAILED = "files-job-failed"
    FILES_LEFT_OUT = "files-left-out"
    FILES_LOST = "files-lost"
    FILES_UNASKED = "files-unasked"

    # why a site did not decide
    SITE_OFFLINE = "site-offline"
    NO_ANSWER = "no-answer"
    NOT_DECIDED = "not-decided"

    # how a site is lost
    WORKER_DIED = "worker-died"
    SLOW_START = "slow-start"
    NOT_JOINED = "not-joined"
    NOT_READY = "not-ready"
    TOO_MANY_RESTARTS = "too-many-restarts"
    LINK_LOST = "link-lost"
    NEW_SESSION = "new-session"
    SITE_ENDED = "site-ended"
    ENCLAVE_ENDED = "enclave-ended"
    ENCLAVE_SILENT = "enclave-silent"
    NOT_CONFIRMED = "not-confirmed"
    NO_GATEWAY = "no-gateway"
    CROWDED = "crowded"
    OTHER_JOB = "other-job"
    TERMS_DIFFER = "terms-differ"
    OTHER_PROJECT_FILE = "other-project-file"
    NOT_ON_ROSTER = "not-on-roster"
    UNKNOWN_ENCLAVE = "unknown-enclave"
    NO_ENCLAVE = "no-enclave"
    WRONG_SIGNER = "wrong-signer"
    UNKNOWN_SESSION = "unknown-session"
    FORGED_RESULT = "forged-result"

    # what is wrong with a letter or a cargo
    ALTERED = "altered"
    WRONG_LENGTH = "wrong-length"
    NO_LETTER = "no-letter"
    REPLAYED = "replayed"
    OUT_OF_ORDER = "out-of-order"
    NEVER_SENT = "never-sent"
    OTHER_SESSION = "other-session"
    TRUNCATED = "truncated"
    WRONG_SIZE = "wrong-size"
    TOO_LONG = "too-long"

    # the rules of a site's guard
    GUARD_TASK = "guard-task"
    GUARD_MODEL = "guard-model"
    GUARD_RESULT_BYTES = "guard-result-bytes"
    GUARD_TRAIN_ARRAYS = "guard-train-arrays"
    GUARD_TRAIN_DTYPES = "guard-train-dtypes"
    GUARD_TRAIN_BODY_BYTES = "guard-train-body-bytes"
    GUARD_TRAIN_METRICS = "guard-train-metrics"
    GUARD_EVALUATE_ARRAYS = "guard-evaluate-arrays"
    GUARD_EVALUATE_DTYPES = "guard-evaluate-dtypes"
    GUARD_EVALUATE_BODY_BYTES = "guard-evaluate-body-bytes"
    GUARD_EVALUATE_METRICS = "guard-evaluate-metrics"
    GUARD_QUERY_ARRAYS = "guard-query-arrays"
    GUARD_QUERY_DTYPES = "guard-query-dtypes"
    GUARD_QUERY_BODY_BYTES = "guard-query-body-bytes"
    GUARD_QUERY_METRICS = "guard-query-metrics"
    GUARD_CUSTOM_ARRAYS = "guard-custom-arrays"
    GUARD_CUSTOM_DTYPES = "guard-custom-dtypes"
    GUARD_CUSTOM_BODY_BYTES = "guard-custom-body-bytes"
    GUARD_CUSTOM_METRICS = "guard-custom-metrics"
    GUARD_FINITE = "guard-finite"
    GUARD_FRAMES = "guard-frames"
    GUARD_FRAME_BYTES = "guard-frame-bytes"


#: Code -> its sentence: what happened, why, and (what to do). ``{name}`` is a number, and stands
#: behind a colon.
SENTENCES: Mapping[Code, str] = {
    Code.INTERNAL: "a program of the federation failed (its own log says more)",
    Code.INVALID_BUNDLE: "the bundle cannot be run",
    Code.BUNDLE_TOO_LARGE: "the bundle is too large",
    Code.INSPECTION_FAILED: "the bundle takes too much to be inspected (make its files simpler)",
    Code.UNKNOWN_FRAMEWORK: "the bundle is of no framework that is offered here",
    Code.UNSUPPORTED_VERSION: "the bundle asks for another version than is offered here",
    Code.INVALID_MODEL: "what should be a model is none",
    Code.INVALID_MESSAGE: "a message was malformed or too large",
    Code.INVALID_CONFIG: "a setting is wrong",
    Code.INVALID_TRANSITION: "that cannot happen to a job in this state",
    Code.WORKLOAD_FAILED: "the workload's code failed (the job's log says why)",
    Code.ALL_TASKS_FAILED: "every task failed at every site (the logs say why)",
    Code.ADAPTER_FAILED: "the framework's adapter failed (the job's log says why)",
    Code.PLUGIN_UNAVAILABLE: "the framework is not installed where the workload should run",
    Code.DENIED: "a rule forbids it",
    Code.UNAUTHENTICATED: "it is not known who asks",
    Code.NOT_FOUND: "something that is needed is not there",
    Code.CONFLICT: "something else is there already",
    Code.UNAVAILABLE: "a peer or a service that is needed is not there",
    Code.DEADLINE_EXCEEDED: "it took too long",
    Code.LIMIT_REACHED: "a share is used up",
    Code.SEAL_BROKEN: "something sealed did not open as it should",
    Code.EVIDENCE_REJECTED: "the enclave's evidence was rejected",
    Code.UNKNOWN_PROJECT: "this enclave does not know the job's project",
    Code.LACKS_DEPENDENCIES: "what the workload depends on is not installed there (its log says "
    "what; an operator can install it, or list a prepared environment in interpreters)",
    Code.NO_ROOM: "there is no room: {jobs} jobs are running",
    Code.RESOURCES_HELD: "what the job asks for is held by others: {jobs} jobs are running",
    Code.NOT_A_MEMBER: "a site of the job is not a member of its project",
    Code.NO_RECIPIENT: (
        "the project releases sealed outputs, and the job names no key to seal to "
        "(submit with a recipient key)"
    ),
    Code.UNKNOWN_RECIPIENT: (
        "the job's recipient key is not one of the project's "
        "(add its fingerprint to `recipients` in the project file)"
    ),
    Code.OTHER_BUNDLE: "the gateway delivered another bundle",
    Code.NOT_SIGNED: (
        "the job is not signed by anybody whom the project lists "
        "(the project file must list the submitter's key)"
    ),
    Code.REQUEST_CHANGED: (
        "the job is not what its submitter signed (somebody between submitter and site changed it)"
    ),
    Code.REQUEST_EXPIRED: "the signed request has expired (submit the workload again)",
    Code.REQUEST_TOO_EARLY: (
        "the signed request is not valid yet, made in the future by this clock, seconds: {seconds} "
        "(set the clocks right)"
    ),
    Code.REQUEST_TOO_LONG: (
        "the signed request is valid for too long, days: {days}, at most {most} "
        "(sign it again with an earlier end)"
    ),
    Code.REQUEST_REPEATED: (
        "the signed request has been run already (submit the workload again: that signs a new one)"
    ),
    Code.NO_SUCH_PROJECT: "this site is not in the job's project (its owner lists project files)",
    Code.LACKS_DATASET: "this site has no dataset",
    Code.LACKS_RESOURCES: (
        "this site does not have what the workload asks it for "
        "(ask for less, or its data owner can declare it under [resources])"
    ),
    Code.SITE_LACKS_DEPENDENCIES: (
        "this site does not have what this workload depends on "
        "(its operator can install it, or list a prepared environment in interpreters)"
    ),
    Code.GUARD_CLOSED: (
        "this site's guard does not let out what this workload needs "
        "(its data owner can write these lines into site.toml)"
    ),
    Code.NO_SERIES: (
        "this site remembers nothing from one job to the next, its series_days is 0 "
        "(submit without fedgate.series, or ask its data owner)"
    ),
    Code.NO_TRAINERS: (
        "this site runs no trainers outside its sandbox, and this workload waits for one to attach "
        "(its data owner can name a folder for them: trainers)"
    ),
    Code.NO_EVIDENCE: "this site trusts no kind of evidence (its data owner lists some: evidence)",
    Code.TOO_FEW_FOR_WORKLOAD: (
        "the workload needs more sites than the job goes on with: {min_sites}, at least {least} "
        "(submit it with more sites)"
    ),
    Code.POLICY_DECLINES: (
        "this site does not take part (see the site's policy, or ask its data owner)"
    ),
    Code.POLICY_FAILED: (
        "this site's policy could not be evaluated for this job "
        "(its data owner finds out with `fedgate policy explain`)"
    ),
    Code.TOO_FEW_SITES: ("too few sites can take part: {left} of at least {least} are left"),
    Code.LOST_TOO_MANY_SITES: ("the job lost too many sites: {left} of at least {least} are left"),
    Code.NOT_STARTED_IN_TIME: (
        "the job could not start in time: after {seconds} s {missing} sites were not ready"
    ),
    Code.JOB_TOO_LONG: (
        "the job ran longer than it may: its enclave ends every job after {seconds} s "
        "(let it do less, or ask the enclave's operator to raise job_seconds)"
    ),
    Code.CANCELLED: "the job was cancelled",
    Code.HOST_STOPPING: "the enclave host is stopping",
    Code.SCRATCH_FULL: (
        "the workload has filled its scratch folder: {bytes} bytes "
        "(write less, or have scratch_bytes raised)"
    ),
    Code.TOO_MANY_PROCESSES: (
        "the workload started more processes and threads than it may: {limit}, "
        "runtime.limits.processes (start fewer, or have the limit raised where it runs)"
    ),
    Code.TOO_MUCH_MEMORY: (
        "the workload was ended at its memory limit: {bytes} bytes, "
        "runtime.limits.tree_memory_bytes (use less, or have the limit raised where it runs)"
    ),
    Code.DOES_NOT_START: "the workload's process could not be started (its host's log says why)",
    Code.DOES_NOT_READ: "the workload's process does not read its messages",
    Code.DOES_NOT_END: "processes of the workload do not end",
    Code.COORDINATOR_DIED: "the coordinator's process ended without a word",
    Code.COHORT_TOO_SMALL: (
        "the model is not released, sites that answered in the smallest round that it can hold: "
        "{contributed}, release.minimum_cohort of the project: {least}"
    ),
    Code.ARTIFACTS_COHORT_TOO_SMALL: (
        "the job's artifacts are not released, sites that answered in the smallest round that "
        "they can hold: {contributed}, release.artifacts_minimum_cohort of the project: {least}"
    ),
    Code.LOGS_COHORT_TOO_SMALL: (
        "the job's log is not released, sites that answered in the smallest round that it can "
        "hold: {contributed}, release.logs_minimum_cohort of the project: {least}"
    ),
    Code.TOO_FEW_FOR_PROJECT: (
        "the job may go on with too few sites: {min_sites}, the project releases nothing of fewer "
        "than: {least} (submit it with --min-sites of at least that, and as many sites)"
    ),
    Code.ARTIFACTS_TOO_LARGE: (
        "the job's artifacts are not released: they exceed {bytes} bytes or {files} files "
        "(write less, or raise release.artifact_bytes in the project file)"
    ),
    Code.LOG_FAILED: (
        "something that happened in the job could not be written into the audit log "
        "(the logs of the gateway and of the job's programs say why)"
    ),
    Code.FILES_NOT_ASKED: (
        "the site keeps the files that its worker left, the request does not ask for them, at "
        "most so many: {files} (submit with --site-files)"
    ),
    Code.FILES_NOT_IN_PROJECT: (
        "the project releases no files of single sites (every member can write "
        'site_files = "one-site-sealed" under [release] in the project file, or submit without '
        "--site-files)"
    ),
    Code.FILES_NOT_PERMITTED: (
        "the site keeps the files that its worker left, by its owner's policy, at most so many: "
        '{files} (its owner can permit Action::"release_files", or hand them over: '
        "`fedgate site outputs`)"
    ),
    Code.FILES_TOO_LARGE: (
        "the site keeps the files that its worker left, they exceed: {bytes} bytes, "
        "release.site_file_bytes of the project, or {most} files (write less)"
    ),
    Code.FILES_JOB_FAILED: (
        "the site keeps the files that its worker left, the job did not succeed, at most so many: "
        "{files} (ask its owner: `fedgate site outputs`)"
    ),
    Code.FILES_LEFT_OUT: (
        "some files that the worker left are not among those released (the site had no room for "
        "them, or their names cannot stand in an archive)"
    ),
    Code.FILES_LOST: (
        "the files that the site's worker left did not get out in time (its owner still has them: "
        "`fedgate site outputs`)"
    ),
    Code.FILES_UNASKED: "the site sent files that nobody asked it for",
    Code.SITE_OFFLINE: "the site was not connected, and the job went on without it",
    Code.NO_ANSWER: "the site did not answer in time, and the job went on without it",
    Code.NOT_DECIDED: "the job ended before the site had decided",
    Code.WORKER_DIED: "the worker's process ended without a word",
    Code.SLOW_START: (
        "the workload did not start in time: {seconds} s, runtime.limits.start_seconds"
    ),
    Code.NOT_JOINED: "it did not join in time",
    Code.NOT_READY: "it did not get ready in time: {seconds} s",
    Code.TOO_MANY_RESTARTS: "its worker crashed too often: {restarts} times",
    Code.LINK_LOST: "it lost its connection",
    Code.NEW_SESSION: "it opened a new session",
    Code.SITE_ENDED: "the site ended its session",
    Code.ENCLAVE_ENDED: "the enclave ended the session",
    Code.ENCLAVE_SILENT: "the enclave does not answer",
    Code.NOT_CONFIRMED: "the enclave did not confirm the session",
    Code.NO_GATEWAY: "the gateway was away for too long: {seconds} s",
    Code.CROWDED: "the peer does not acknowledge its letters: no room for more in {seconds} s",
    Code.OTHER_JOB: "the job is not the one that this site accepted",
    Code.TERMS_DIFFER: (
        "the enclave's terms differ from what this site accepted "
        "(somebody between site and enclave changed the job)"
    ),
    Code.OTHER_PROJECT_FILE: (
        "the enclave holds another project file than this site "
        "(every member of a project needs the same project file; compare them)"
    ),
    Code.NOT_ON_ROSTER: "the site's identity is not on the roster of the project",
    Code.UNKNOWN_ENCLAVE: "the enclave is not one of the project's (compare the project files)",
    Code.NO_ENCLAVE: "the request names no enclave, and the project has several (name one)",
    Code.WRONG_SIGNER: "the answer is not signed by the project's enclave",
    Code.UNKNOWN_SESSION: "the session is not known here",
    Code.FORGED_RESULT: "the workload answered in another's name, or a task that it does not have",
    Code.ALTERED: "something sealed was altered on its way",
    Code.WRONG_LENGTH: "something sealed has a wrong length",
    Code.NO_LETTER: "something came that is no letter",
    Code.REPLAYED: "a letter was replayed",
    Code.OUT_OF_ORDER: "a letter came out of order",
    Code.NEVER_SENT: "letters were acknowledged that were never sent",
    Code.OTHER_SESSION: "a letter belongs to another session, job or direction",
    Code.TRUNCATED: "a cargo is truncated",
    Code.WRONG_SIZE: "a part of a cargo has a wrong size",
    Code.TOO_LONG: "a cargo is longer than announced",
    Code.GUARD_TASK: "a result for a task that nobody asked for",
    Code.GUARD_MODEL: "the result's model is malformed, or not written as ours",
    Code.GUARD_RESULT_BYTES: "the result's model is too large, by guard.result_bytes",
    Code.GUARD_FINITE: "the result holds NaN or infinity: guard.finite",
    Code.GUARD_FRAMES: "opaque traffic is not listed in guard.frames",
    Code.GUARD_FRAME_BYTES: (
        "too much opaque traffic for this job: {bytes} bytes, guard.frame_bytes is {limit} "
        "(let it send less, or ask the data owner for more)"
    ),
    **{
        Code(f"guard-{kind}-{rule.replace('_', '-')}"): f"{what}, by guard.{kind}.{rule}"
        for kind in ("train", "evaluate", "query", "custom")
        for rule, what in (
            ("arrays", "the result holds arrays that its task did not ask for"),
            ("dtypes", "the result holds numbers of a kind that is not listed"),
            ("body_bytes", "the result's opaque part is too large"),
            ("metrics", "the result has too many metrics, or some that are none"),
        )
    },
}
