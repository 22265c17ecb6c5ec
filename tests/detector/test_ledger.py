from __future__ import annotations

import pytest

from detector.events import ContextSet, EarlierComplaint
from detector.ledger import SHARED_COMPLAINTS, is_shared, left_by
from detector.repetition import to_vector
from tests.detector.calls import Call
from tests.detector.scripted import vector


def earlier(text: str, call: str, model: str = "scripted") -> EarlierComplaint:
    return EarlierComplaint(call=call, model_version=model, centre=vector(text))


def complaining(*known: EarlierComplaint) -> Call:
    call = Call()
    call.give(ContextSet(model_version="scripted", earlier=known))
    call.say("C", "この前の返金がまだ口座に入っていないのですが、どうなっていますか")
    return call


def test_two_earlier_calls_about_the_same_are_a_notice_that_says_how_many():
    call = complaining(earlier("返金", "a@1"), earlier("返金", "b@1"), earlier("届かない", "c@1"))
    alert = call.alert("repetition")
    assert alert.level.value == "notice"
    assert "2 earlier calls" in alert.reason
    assert alert.call.earlier_calls == 2


def test_one_earlier_call_or_other_complaints_are_nothing():
    assert complaining(earlier("返金", "a@1"), earlier("届かない", "b@1")).level("repetition") == "none"


def test_complaints_of_one_call_count_once():
    assert complaining(earlier("返金", "a@1"), earlier("返金", "a@1")).level("repetition") == "none"


def test_embeddings_of_another_model_are_not_compared():
    assert complaining(earlier("返金", "a@1", "other"), earlier("返金", "b@1", "other")).level("repetition") == "none"


def test_the_ledger_may_answer_after_the_complaint_was_heard():
    call = complaining()
    call.give(ContextSet(earlier=(earlier("返金", "a@1"), earlier("返金", "b@1"))))
    assert call.level("repetition") == "notice"


def test_the_ledger_alone_never_goes_above_notice():
    many = tuple(earlier("返金", f"{number}@1") for number in range(20))
    assert complaining(*many).level("repetition") == "notice"


def test_a_call_leaves_its_complaints_and_no_words():
    call = complaining()
    left = left_by(call.session.state.repetition)
    assert [item.raisings for item in left] == [1]
    assert float(to_vector(left[0].centre) @ to_vector(vector("返金"))) == pytest.approx(1.0, abs=1e-3)


def test_many_different_complaints_of_one_number_in_a_day_mark_it_as_shared():
    different = [earlier(f"用件{number}", f"{number}@1") for number in range(SHARED_COMPLAINTS)]
    assert is_shared(different, similarity=0.62)
    assert not is_shared(different[:-1], similarity=0.62)
    assert not is_shared([earlier("返金", f"{number}@1") for number in range(40)], similarity=0.62)
