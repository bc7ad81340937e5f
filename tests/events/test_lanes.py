"""Order per record, in single steps and against a model of the bus that hands out, takes back, forgets and crashes."""

import json

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from events.lanes import ABSENCES, LATEST, PATIENCE, RECHECK, Deliver, Lanes, Wait

ACK_WAIT = 30.0
NOW = 1_779_264_000.0


def failed_once() -> Lanes:
    """Event 5 of record `a` failed at NOW and is due in 60 seconds."""
    here = Lanes()
    here.arrive("a", 5, NOW)
    here.failed("a", 5, NOW, 60)
    return here


def test_a_first_event_is_delivered_at_once() -> None:
    assert Lanes().arrive("a", 5, NOW) == Deliver(attempt=1)


def test_records_do_not_hold_up_each_other() -> None:
    here = failed_once()
    assert here.arrive("b", 7, NOW) == Deliver(attempt=1)


def test_an_event_in_hand_holds_the_next_of_its_record() -> None:
    here = Lanes()
    here.arrive("a", 5, NOW)
    assert here.arrive("a", 7, NOW) == Wait(RECHECK)
    here.settled("a", 5)
    assert here.arrive("a", 7, NOW) == Deliver(attempt=1)


def test_an_event_in_hand_is_not_delivered_a_second_time_beside_itself() -> None:
    here = Lanes()
    here.arrive("a", 5, NOW)
    assert here.arrive("a", 5, NOW) == Wait(RECHECK)


def test_a_failed_event_comes_too_early_and_waits_the_rest() -> None:
    here = failed_once()
    assert here.arrive("a", 5, NOW + 45) == Wait(15)
    assert here.arrive("a", 5, NOW + 60) == Deliver(attempt=2)


def test_attempts_are_counted() -> None:
    here = failed_once()
    here.arrive("a", 5, NOW + 60)
    here.failed("a", 5, NOW + 60, 0)
    assert here.arrive("a", 5, NOW + 60) == Deliver(attempt=3)


def test_later_events_wait_for_a_failed_one_and_then_go_in_order_however_they_come() -> None:
    here = failed_once()
    assert here.arrive("a", 7, NOW + 10) == Wait(50)
    assert here.arrive("a", 9, NOW + 10) == Wait(50)
    here.arrive("a", 5, NOW + 60)
    here.settled("a", 5)
    assert here.arrive("a", 9, NOW + 61) == Wait(RECHECK)
    assert here.arrive("a", 7, NOW + 61) == Deliver(attempt=1)
    here.settled("a", 7)
    assert here.arrive("a", 9, NOW + 61) == Deliver(attempt=1)


def test_a_snapshot_keeps_order_and_attempts_over_a_restart() -> None:
    here = failed_once()
    here.arrive("a", 7, NOW + 1)
    saved = here.snapshot("a")
    assert saved is not None
    there = Lanes()
    there.restore("a", saved)
    assert there.arrive("a", 9, NOW + 2) == Wait(58)
    assert there.arrive("a", 5, NOW + 60) == Deliver(attempt=2)
    there.settled("a", 5)
    assert there.arrive("a", 9, NOW + 61) == Wait(RECHECK)
    assert there.arrive("a", 7, NOW + 61) == Deliver(attempt=1)


def test_nothing_is_kept_of_a_record_that_never_failed_or_is_done_with() -> None:
    here = Lanes()
    here.arrive("a", 5, NOW)
    here.arrive("a", 7, NOW)
    assert here.snapshot("a") is None
    here.failed("a", 5, NOW, 0)
    assert here.snapshot("a") is not None
    here.arrive("a", 5, NOW)
    here.settled("a", 5)
    assert here.snapshot("a") is None
    assert here.snapshot("never seen") is None


def test_a_snapshot_does_not_change_when_an_event_only_comes_again() -> None:
    here = failed_once()
    here.arrive("a", 7, NOW + 1)
    saved = here.snapshot("a")
    here.arrive("a", 7, NOW + 2)
    here.arrive("a", 5, NOW + 3)
    assert here.snapshot("a") == saved


@pytest.mark.parametrize("saved", [b"", b"{}", b'[["a"],{}]', b"\xff"])
def test_what_is_not_a_snapshot_is_refused(saved: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        Lanes().restore("a", saved)


def test_an_event_in_doubt_holds_later_ones_until_it_is_back() -> None:
    here = Lanes()
    here.doubt("a", 5, NOW + ACK_WAIT)
    assert here.arrive("a", 7, NOW) == Wait(RECHECK)
    assert here.arrive("a", 5, NOW + 20) == Deliver(attempt=1)
    here.settled("a", 5)
    assert here.arrive("a", 7, NOW + 20) == Deliver(attempt=1)


def test_an_event_in_doubt_that_does_not_come_back_in_time_was_settled() -> None:
    here = Lanes()
    here.doubt("a", 5, NOW + ACK_WAIT)
    assert here.arrive("a", 7, NOW + ACK_WAIT - 1) == Wait(RECHECK)
    assert here.arrive("a", 7, NOW + ACK_WAIT) == Deliver(attempt=1)


def test_an_event_that_the_bus_knows_to_be_settled_is_in_doubt_no_longer() -> None:
    here = Lanes()
    here.doubt("a", 5, NOW + ACK_WAIT)
    here.doubt("b", 6, NOW + ACK_WAIT)
    assert here.arrive("a", 7, NOW) == Wait(RECHECK)
    here.settled_up_to(5)
    assert here.arrive("a", 7, NOW) == Deliver(attempt=1)
    assert here.arrive("b", 8, NOW) == Wait(RECHECK)
    here.settled_up_to(6)
    here.forget_doubts(NOW)
    assert not here.has_doubts


def test_doubts_whose_time_has_passed_leave_nothing_behind() -> None:
    here = Lanes()
    for number in range(5):
        here.doubt(f"record {number}", number + 1, NOW + ACK_WAIT)
    here.arrive("record 0", 1, NOW)
    here.forget_doubts(NOW + ACK_WAIT - 1)
    assert len(here) == 5
    here.forget_doubts(NOW + ACK_WAIT)
    assert len(here) == 1
    here.settled("record 0", 1)
    assert len(here) == 0


def test_a_rest_is_no_failed_attempt_and_later_events_wait_for_it_over_a_restart() -> None:
    here = failed_once()
    here.arrive("a", 5, NOW + 60)
    here.rested("a", 5, NOW + 60, 3600)
    saved = here.snapshot("a")
    assert saved is not None
    there = Lanes()
    there.restore("a", saved)
    assert there.arrive("a", 7, NOW + 61) == Wait(3599)
    assert there.arrive("a", 5, NOW + 3660) == Deliver(attempt=2)


def test_a_doubt_holds_no_other_record() -> None:
    here = Lanes()
    here.doubt("a", 5, NOW + ACK_WAIT)
    assert here.arrive("b", 7, NOW) == Deliver(attempt=1)


def test_an_event_kept_in_a_snapshot_is_not_in_doubt_however_long_its_wait() -> None:
    saved = failed_once().snapshot("a")
    assert saved is not None
    here = Lanes()
    here.restore("a", saved)
    here.doubt("a", 5, NOW + 10)
    assert here.arrive("a", 7, NOW + 20) == Wait(40)
    assert here.arrive("a", 5, NOW + 60) == Deliver(attempt=2)


def test_a_released_event_comes_again_as_the_same_attempt_and_still_before_later_ones() -> None:
    here = Lanes()
    here.arrive("a", 5, NOW)
    here.released("a", 5)
    assert here.arrive("a", 7, NOW) == Wait(RECHECK)
    assert here.arrive("a", 5, NOW) == Deliver(attempt=1)


def test_releasing_what_is_settled_or_failed_changes_nothing() -> None:
    here = failed_once()
    here.released("a", 5)
    assert here.arrive("a", 5, NOW) == Wait(60)
    here.arrive("a", 5, NOW + 60)
    here.settled("a", 5)
    here.released("a", 5)
    assert here.arrive("a", 7, NOW + 60) == Deliver(attempt=1)
    here.released("a", 5)
    assert here.arrive("a", 9, NOW + 60) == Wait(RECHECK)


def test_an_event_that_never_comes_back_holds_up_its_record_for_a_while_only() -> None:
    here = failed_once()
    due = NOW + 60
    for absence in range(3):
        assert here.arrive("a", 7, due + absence * PATIENCE) == Wait(RECHECK)
    assert here.arrive("a", 7, due + 3 * PATIENCE) == Deliver(attempt=1)


def test_a_long_silence_of_the_bus_is_not_taken_for_a_lost_event() -> None:
    here = failed_once()
    assert here.arrive("a", 7, NOW + 90_000) == Wait(RECHECK)
    assert here.arrive("a", 5, NOW + 90_001) == Deliver(attempt=2)


def test_an_event_given_up_that_comes_after_all_is_still_delivered() -> None:
    here = failed_once()
    for absence in range(4):
        here.arrive("a", 7, NOW + 60 + absence * PATIENCE)
    here.settled("a", 7)
    assert here.arrive("a", 5, NOW + 200) == Deliver(attempt=1)


def test_a_clock_set_back_makes_a_retry_due_rather_than_late() -> None:
    assert failed_once().arrive("a", 5, NOW - 7200) == Deliver(attempt=2)


def restored(saved: bytes | None, *, settled_up_to: int = 0) -> Lanes:
    """Another worker's lanes, of record `a` alone."""
    assert saved is not None
    there = Lanes()
    there.restore("a", saved, settled_up_to=settled_up_to)
    return there


def test_a_doubt_is_a_doubt_over_a_restart_and_costs_no_more_than_its_time() -> None:
    here = failed_once()
    for seq in (1, 2, 3):
        here.doubt("a", seq, NOW + 70)
    there = restored(here.snapshot("a"))
    assert there.arrive("a", 5, NOW + 69) == Wait(RECHECK)
    assert there.arrive("a", 5, NOW + 70) == Deliver(attempt=2)


def test_a_doubt_kept_alone_is_not_stored_and_is_forgotten_after_a_restart() -> None:
    here = failed_once()
    here.doubt("a", 3, NOW + ACK_WAIT)
    there = restored(here.snapshot("a"), settled_up_to=2)
    there.arrive("a", 5, NOW + 60)
    there.settled("a", 5)
    assert len(there) == 0
    here = Lanes()
    here.doubt("a", 3, NOW + ACK_WAIT)
    assert here.snapshot("a") is None


def test_a_doubt_of_the_one_before_lasts_as_long_as_a_new_one_of_the_same_event() -> None:
    here = failed_once()
    here.doubt("a", 3, NOW + 61)
    there = restored(here.snapshot("a"))
    there.doubt("a", 3, NOW + 90)
    assert there.arrive("a", 5, NOW + 89) == Wait(RECHECK)
    assert there.arrive("a", 3, NOW + 89) == Deliver(attempt=1)


def test_a_snapshot_from_before_doubts_were_kept_is_still_read() -> None:
    there = restored(b'[[5,7],{"5":[1,1779264000.0,60.0]}]')
    assert there.arrive("a", 7, NOW) == Wait(60)
    assert there.arrive("a", 5, NOW + 60) == Deliver(attempt=2)


def test_a_doubt_of_an_event_that_is_not_in_line_is_no_obstacle() -> None:
    there = restored(b'[[5],{},{"3":1779264000.0}]')
    assert there.arrive("a", 5, NOW + 1) == Deliver(attempt=1)


def test_what_the_bus_knows_to_be_settled_is_not_waited_for() -> None:
    here = failed_once()
    here.arrive("a", 7, NOW)
    here.doubt("a", 3, NOW + 3600)
    there = restored(here.snapshot("a"), settled_up_to=5)
    assert there.snapshot("a") is None
    assert there.arrive("a", 9, NOW) == Wait(RECHECK)
    assert there.arrive("a", 7, NOW) == Deliver(attempt=1)


def test_a_lane_of_which_all_is_settled_is_not_kept() -> None:
    assert len(restored(failed_once().snapshot("a"), settled_up_to=5)) == 0


def test_events_that_are_not_coming_any_more_cost_one_patience_together() -> None:
    here = failed_once()
    for seq in (7, 8, 9):
        here.arrive("a", seq, NOW)
    there = restored(here.snapshot("a"))
    for absence in range(3):
        assert there.arrive("a", 11, NOW + 60 + absence * PATIENCE) == Wait(RECHECK)
    assert there.arrive("a", 11, NOW + 60 + 3 * PATIENCE) == Deliver(attempt=1)


def test_an_event_that_has_come_since_the_restart_is_not_given_up_along_with_others() -> None:
    here = failed_once()
    for seq in (7, 8):
        here.arrive("a", seq, NOW)
    there = restored(here.snapshot("a"))
    there.arrive("a", 7, NOW)
    for absence in range(4):
        assert there.arrive("a", 11, NOW + 60 + absence * PATIENCE) == Wait(RECHECK)
    assert there.arrive("a", 7, NOW + 60 + 3 * PATIENCE) == Deliver(attempt=1)


@pytest.mark.parametrize("due", [pytest.param(70, id="a moment ago"), pytest.param(600, id="later")])
def test_an_event_that_waits_on_the_server_is_not_given_up_along_with_others(due: float) -> None:
    there = restored(msgspec.json.encode([[3, 5], {5: [1, NOW, due]}]))
    for absence in range(4):
        assert isinstance(there.arrive("a", 7, NOW + absence * PATIENCE), Wait)
    assert there.arrive("a", 7, NOW + 3 * PATIENCE) == Wait(max(RECHECK, due - 3 * PATIENCE))
    assert there.arrive("a", 5, NOW + 600) == Deliver(attempt=2)


def test_an_event_in_doubt_is_not_given_up_along_with_others() -> None:
    there = restored(msgspec.json.encode([[3, 5], {}, {5: NOW + 300}]))
    for absence in range(4):
        assert there.arrive("a", 7, NOW + absence * PATIENCE) == Wait(RECHECK)
    assert there.arrive("a", 7, NOW + 299) == Wait(RECHECK)
    assert there.arrive("a", 5, NOW + 299) == Deliver(attempt=1)


def test_an_event_perhaps_in_a_slow_hand_is_not_given_up_before_it_can_be_back() -> None:
    there = restored(msgspec.json.encode([[5], {5: [1, NOW, 0.0]}]))
    there.doubt("a", 5, NOW + 305)
    for absence in range(10):
        assert there.arrive("a", 7, NOW + absence * PATIENCE) == Wait(RECHECK)
    assert there.arrive("a", 5, NOW + 304) == Deliver(attempt=2)


def test_the_further_back_in_line_an_event_is_the_later_it_is_looked_at_again() -> None:
    here = Lanes()
    here.arrive("a", 1, NOW)
    waits = [here.arrive("a", seq, NOW) for seq in range(2, 3002)]
    assert waits[0] == Wait(RECHECK)
    assert waits[99] == Wait(2.0)
    assert waits[-1] == Wait(LATEST)
    here.settled("a", 1)
    assert here.arrive("a", 1001, NOW) == Wait(19.98)
    assert here.arrive("a", 2, NOW) == Deliver(attempt=1)


def test_a_clock_set_back_ends_a_doubt_rather_than_prolonging_it() -> None:
    here = Lanes()
    here.doubt("a", 5, NOW + ACK_WAIT)
    assert here.arrive("a", 7, NOW - 7200) == Deliver(attempt=1)
    here = Lanes()
    here.doubt("a", 5, NOW + ACK_WAIT)
    here.forget_doubts(NOW - 7200)
    assert len(here) == 0


def test_a_clock_set_back_does_not_prolong_the_patience() -> None:
    here = failed_once()
    assert here.arrive("a", 7, NOW + 60) == Wait(RECHECK)
    for absence in range(2):
        assert here.arrive("a", 7, NOW - 7200 + absence * PATIENCE) == Wait(RECHECK)
    assert here.arrive("a", 7, NOW - 7200 + 2 * PATIENCE) == Deliver(attempt=1)


class Bus(RuleBasedStateMachine):
    """A consumer as JetStream keeps it: unsettled events come back when due, in any order, before new ones come in order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.key_of: dict[int, str] = {}
        self.fresh: list[int] = []
        self.due: dict[int, float] = {}  # handed out before, by when they come again
        self.in_hand: list[int] = []
        self.failures: dict[int, int] = {}
        self.stored: dict[str, bytes] = {}
        self.handed_out = 0
        self.lanes = Lanes()

    def back(self) -> list[int]:
        return [seq for seq, due in self.due.items() if due <= self.now]

    def store(self, seq: int) -> None:
        saved = self.lanes.snapshot(self.key_of[seq])
        if saved is None:
            self.stored.pop(self.key_of[seq], None)
        else:
            self.stored[self.key_of[seq]] = saved

    def hand_out(self, seq: int) -> None:
        self.due.pop(seq, None)
        self.handed_out = max(self.handed_out, seq)
        match self.lanes.arrive(self.key_of[seq], seq, self.now):
            case Deliver(attempt=attempt):
                same = [other for other, key in self.key_of.items() if key == self.key_of[seq]]
                open_now = {*self.due, *self.in_hand, *self.fresh}
                assert not [other for other in same if other < seq and other in open_now], "order is broken"
                assert attempt == self.failures.get(seq, 0) + 1
                self.in_hand.append(seq)
            case Wait(seconds=seconds):
                assert 0 < seconds <= 7200
                self.due[seq] = self.now + seconds
        self.store(seq)

    @rule(key=st.sampled_from("ab"))
    def publish(self, key: str) -> None:
        seq = len(self.key_of) + 1
        self.key_of[seq] = key
        self.fresh.append(seq)

    @precondition(lambda self: self.back())
    @rule(data=st.data())
    def hand_out_again(self, data: st.DataObject) -> None:
        self.hand_out(data.draw(st.sampled_from(self.back())))

    @precondition(lambda self: self.fresh and not self.back())
    @rule()
    def hand_out_a_new_one(self) -> None:
        self.hand_out(self.fresh.pop(0))

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), wait=st.sampled_from([0.0, 5.0, 30.0, 7200.0]))
    def fail(self, data: st.DataObject, wait: float) -> None:
        seq = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove(seq)
        self.failures[seq] = self.failures.get(seq, 0) + 1
        self.lanes.failed(self.key_of[seq], seq, self.now, wait)
        self.store(seq)
        self.due[seq] = self.now + wait

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), crash=st.sampled_from(["", "before the bus is told", "after"]))
    def settle(self, data: st.DataObject, crash: str) -> None:
        seq = data.draw(st.sampled_from(self.in_hand))
        self.lanes.settling(self.key_of[seq], seq)
        self.store(seq)
        if crash == "before the bus is told":
            self.failures.pop(seq, None)
            self.crash(0.0)
            return
        self.in_hand.remove(seq)  # acknowledged
        if crash:
            self.crash(0.0)
            assert self.key_of[seq] not in self.stored or seq not in json.loads(self.stored[self.key_of[seq]])[0]
            return
        self.lanes.settled(self.key_of[seq], seq)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), acknowledged=st.booleans())
    def lose_track(self, data: st.DataObject, *, acknowledged: bool) -> None:
        seq = data.draw(st.sampled_from(self.in_hand))
        self.in_hand.remove(seq)
        self.lanes.released(self.key_of[seq], seq)
        if not acknowledged:
            self.due[seq] = self.now + ACK_WAIT

    @rule(outage=st.sampled_from([0.0, 1.0, 100.0, 10_000.0]))
    def crash(self, outage: float) -> None:
        """Another worker takes over. All it knows: what is stored, and which events were handed out above the ack floor."""
        for place, seq in enumerate(self.in_hand):
            self.due[seq] = self.now + ACK_WAIT * (1 - (place % 3 + 0.1) / 4)
        self.in_hand = []
        self.now += outage
        self.lanes = Lanes()
        floor = min(self.due, default=self.handed_out + 1)
        for key, saved in self.stored.items():
            self.lanes.restore(key, saved, settled_up_to=floor - 1)
        for seq in range(floor, self.handed_out + 1):
            self.lanes.doubt(self.key_of[seq], seq, self.now + ACK_WAIT)

    @rule()
    def hear_what_is_settled(self) -> None:
        self.lanes.settled_up_to(min([*self.due, *self.in_hand], default=self.handed_out + 1) - 1)
        self.lanes.forget_doubts(self.now)

    @precondition(lambda self: self.due)
    @rule(data=st.data())
    def age_out(self, data: st.DataObject) -> None:
        self.due.pop(data.draw(st.sampled_from(sorted(self.due))))

    @precondition(lambda self: self.due and not self.back())
    @rule()
    def time_passes(self) -> None:
        self.now = min(self.due.values())

    def teardown(self) -> None:
        """Once everything works, everything is delivered."""
        each = 7200 + ACK_WAIT + (ABSENCES + 1) * (PATIENCE + 1)  # no event holds the next for longer
        latest = self.now + each * (len(self.key_of) + 1)
        while self.fresh or self.due or self.in_hand:
            assert self.now <= latest, "wedged"
            for seq in [*self.in_hand]:
                self.in_hand.remove(seq)
                self.lanes.settling(self.key_of[seq], seq)
                self.store(seq)
                self.lanes.settled(self.key_of[seq], seq)
            if back := self.back():
                self.hand_out(max(back))
            elif self.fresh:
                self.hand_out(self.fresh.pop(0))
            else:
                self.now = min(self.due.values(), default=self.now)


def test_no_order_of_deliveries_failures_losses_and_crashes_breaks_order_or_wedges_a_record() -> None:
    run_state_machine_as_test(Bus, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
