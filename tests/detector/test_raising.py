from dataclasses import replace

import pytest

from detector.raising import USUAL_COMPLAINT, USUAL_IDEAS, Signs, is_raising, needed
from detector.rules import default_rules

RULES = default_rules().repetition
USUAL = Signs(
    likeness=0.5,
    shared_words=1,
    complains=USUAL_COMPLAINT,
    insists=False,
    other_matter=False,
    asked=False,
    refusals=1,
    restated=1,
    ideas=USUAL_IDEAS,
)


def test_the_rule_is_the_likeness_of_an_ordinary_complaint():
    assert needed(USUAL, RULES) == pytest.approx(RULES.similarity)
    assert is_raising(replace(USUAL, likeness=RULES.similarity + 0.01), RULES)
    assert not is_raising(replace(USUAL, likeness=RULES.similarity - 0.01), RULES)


@pytest.mark.parametrize(
    "change",
    [{"shared_words": 2}, {"complains": 0.9}, {"insists": True}, {"refusals": 2}, {"restated": 2}, {"ideas": 25}],
)
def test_what_speaks_for_a_raising(change):
    assert needed(replace(USUAL, **change), RULES) < RULES.similarity


@pytest.mark.parametrize(
    "change",
    [{"shared_words": 0}, {"complains": 0.1}, {"other_matter": True}, {"asked": True}, {"refusals": 0}, {"ideas": 5}],
)
def test_what_speaks_against_it(change):
    assert needed(replace(USUAL, **change), RULES) > RULES.similarity


def test_counts_are_bounded():
    many = replace(USUAL, shared_words=3, refusals=3, restated=3, ideas=30)
    assert needed(many, RULES) == needed(replace(many, shared_words=20, refusals=9, restated=20, ideas=300), RULES)
