"""Who said what of a stored call, and which steps of the ending procedure were given: read off its log, folded once more.

Neither depends on the house's rules, so those that the call began with need not be at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detector.events import Segment, SpeakersSwapped
from detector.labels import Speaker
from detector.playbook import default_playbook
from detector.rules import default_rules
from detector.scoring import Unscored, UnscoredReason
from detector.session import CallSession
from detector.state import CallState
from server.live.recovery import refold
from server.storage.port import CallRecord, Stored

_OTHER = {Speaker.CUSTOMER: Speaker.AGENT, Speaker.AGENT: Speaker.CUSTOMER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a call came to.

    Args:
        state: what is known of it.
        awaited: utterances whose score is not in the log yet; they stand in the state as they were said, unscored.
    """

    state: CallState
    awaited: int


def folded(record: CallRecord, rows: Sequence[Stored]) -> Folded:
    """What a call came to, out of all its rows, oldest first; the stored scores are used, nothing is scored anew.

    An event is in the log before it is scored, so the log may be ahead of the scores: what was said counts all the same.
    """
    session = CallSession(
        tenant=record.tenant,
        call_id=record.call_id,
        instance=record.instance,
        rules=default_rules(),
        playbook=default_playbook(),
    )
    found = refold(record, session, rows)
    for request_id in found.requests:
        session.receive(Unscored(request_id=request_id, reason=UnscoredReason.EXPIRED), utc_ms=found.last_ms)
    return Folded(state=session.state, awaited=len(found.requests))


def speakers_of(rows: Sequence[Stored], turned: str) -> Iterator[tuple[Segment, Speaker]]:
    """The segments of a call, each with who really said it.

    A platform that says that it had the speakers the wrong way round has them right from then on; where we found it out by
    ourselves all labels are taken the other way round.

    Args:
        rows: of the call, oldest first.
        turned: `SpeakerWatch.turned` of the call.
    """
    values = [stored.row.value for stored in rows]
    corrected = [at for at, value in enumerate(values) if isinstance(value, SpeakersSwapped) and value.swapped]
    wrong_until = corrected[-1] if corrected else len(values) if turned == "detected" else 0
    for at, value in enumerate(values):
        if isinstance(value, Segment):
            yield value, _OTHER.get(value.speaker, value.speaker) if at < wrong_until else value.speaker
