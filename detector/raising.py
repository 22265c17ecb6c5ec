"""How much speaks for an utterance being a complaint raised again: the likeness to what was said before, and everything else
that tells a person so.

An embedding alone cannot tell: a caller who goes in circles finds new pictures for the old claim, and one who asks three
questions about one matter uses the same words. So the likeness that is needed (cosine) falls with what speaks for a raising
and rises with what speaks against it. The weights lie in the rules; `python -m benchmarks.rounds` fits them anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from detector.rules import RepetitionRules

MAX_COUNT: Final = 3
"""Shared words, refusals and restated words beyond it add nothing."""
MAX_IDEAS: Final = 30
"""Ideas beyond it add nothing."""
LEAST_LIKENESS: Final = 0.2
"""Below it nothing makes two complaints one: half of the utterances about different matters on the development calls are less alike
than 0.3."""
USUAL_COMPLAINT: Final = 0.6
USUAL_IDEAS: Final = 15
"""What `similarity` in the rules is for: a complaint of that score and length, with one word of the claim in it, after one
refusal and one answer that came back to the words of an earlier one. About the median of the raisings on the development calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What speaks for and against a raising.

    Args:
        likeness: cosine to the nearest claims that were answered.
        shared_words: content words that it shares with the claims that were answered.
        complains: 0 to 1, how sure the classifier is that it complains or demands.
        insists: whether the caller stands by the claim, or says that it is said again.
        other_matter: whether it is announced as another matter.
        asked: whether it answers the operator's question.
        refusals: how many answers refused something so far.
        restated: content words that the operator's last answer shares with an earlier one: who is asked the same, answers
            the same.
        ideas: how much it says, see `text.substance`.
    """

    likeness: float
    shared_words: int
    complains: float
    insists: bool
    other_matter: bool
    asked: bool
    refusals: int
    restated: int
    ideas: int


def is_raising(signs: Signs, rules: RepetitionRules) -> bool:
    """Whether the likeness suffices, given all the rest."""
    return signs.likeness >= needed(signs, rules)


def needed(signs: Signs, rules: RepetitionRules) -> float:
    """The cosine from which it is the same complaint again, at least `LEAST_LIKENESS`; above 1 nothing would do."""
    weights = rules.evidence
    value = rules.similarity
    value -= weights.shared_word * (min(MAX_COUNT, signs.shared_words) - 1)
    value -= weights.complaint * (signs.complains - USUAL_COMPLAINT)
    value -= weights.refusal * (min(MAX_COUNT, signs.refusals) - 1)
    value -= weights.restated_word * (min(MAX_COUNT, signs.restated) - 1)
    value -= weights.ten_ideas * (min(MAX_IDEAS, signs.ideas) - USUAL_IDEAS) / 10
    if signs.insists:
        value -= rules.similarity - rules.similarity_said_again
    if signs.other_matter:
        value += rules.similarity_other_matter - rules.similarity
    if signs.asked:
        value += weights.asked
    return max(LEAST_LIKENESS, value)
