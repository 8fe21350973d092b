"""The life of a job: only rows of the table, and an end is an end."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fedgate import JobEvent, JobState
from fedgate.errors import InvalidTransition
from fedgate.job import TRANSITIONS, next_state

S, E = JobState, JobEvent

#: Written out once more, so that a changed row is a decision and not a slip.
TABLE = {
    S.SUBMITTED: {E.REVIEW: S.IN_REVIEW, E.DENY: S.DENIED},
    S.IN_REVIEW: {E.ACCEPT: S.QUEUED, E.DENY: S.DENIED},
    S.QUEUED: {E.ASSIGN: S.STARTING, E.DENY: S.DENIED},
    S.STARTING: {E.START: S.RUNNING, E.REQUEUE: S.QUEUED, E.DENY: S.DENIED},
    S.RUNNING: {E.SUCCEED: S.SUCCEEDED},
}
ENDS = {E.CANCEL: S.CANCELLED, E.FAIL: S.FAILED, E.EXPIRE: S.EXPIRED}
FINAL = {S.SUCCEEDED, S.DENIED, S.FAILED, S.CANCELLED, S.EXPIRED}


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("event", E)
def test_every_pair_of_state_and_event_does_what_the_table_says(state, event):
    expected = {**TABLE[state], **ENDS}.get(event) if state in TABLE else None
    if expected is None:
        with pytest.raises(InvalidTransition) as caught:
            next_state(state, event)
        assert str(state) in caught.value.what
        assert caught.value.why
    else:
        assert next_state(state, event) is expected


def test_exactly_these_states_are_final():
    assert {state for state in S if state.final} == FINAL


def test_every_state_has_a_row_and_can_be_reached():
    assert set(TRANSITIONS) == set(S)
    reached, fresh = {S.SUBMITTED}, {S.SUBMITTED}
    while fresh:
        fresh = {to for state in fresh for to in TRANSITIONS[state].values()} - reached
        reached |= fresh
    assert reached == set(S)


def test_a_refusal_says_what_is_possible_instead():
    with pytest.raises(InvalidTransition, match="possible now: review, deny"):
        next_state(S.SUBMITTED, E.SUCCEED)
    with pytest.raises(InvalidTransition, match="it has ended"):
        next_state(S.FAILED, E.START)


class Life(RuleBasedStateMachine):
    """Any events in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state = S.SUBMITTED
        self.path = [S.SUBMITTED]

    @rule(event=st.sampled_from(E))
    def happen(self, event: JobEvent) -> None:
        was = self.state
        try:
            self.state = next_state(was, event)
        except InvalidTransition:
            assert event not in TRANSITIONS[was]
        else:
            assert not was.final
            self.path.append(self.state)

    @invariant()
    def only_reviewed_and_accepted_jobs_run(self) -> None:
        if S.RUNNING in self.path:
            before = self.path[: self.path.index(S.RUNNING)]
            assert S.IN_REVIEW in before
            assert S.QUEUED in before

    @invariant()
    def an_end_is_an_end(self) -> None:
        assert sum(state.final for state in self.path) <= 1
        assert not any(state.final for state in self.path[:-1])

    @invariant()
    def success_comes_from_running_alone(self) -> None:
        if self.state is S.SUCCEEDED:
            assert self.path[-2] is S.RUNNING


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
