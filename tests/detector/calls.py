"""Builds calls for tests: each line is one final of so many seconds."""

from __future__ import annotations

from detector.alerts import AlertEvent
from detector.desk import Output
from detector.events import Input, Segment
from detector.labels import Speaker
from detector.playbook import default_playbook
from detector.rules import Rules, default_rules
from detector.scoring import ScoreRequest, ScoreResult, Unscored
from detector.session import CallSession
from tests.detector.scripted import answer

RULES = default_rules()
PLAYBOOK = default_playbook()


class Call:
    """A session whose scores are there at once, unless `hold_scores`."""

    def __init__(self, *, rules: Rules = RULES, language: str = "ja", hold_scores: bool = False, gate=None) -> None:
        extra = {} if gate is None else {"gate": gate}
        self.session = CallSession(tenant="t", call_id="c", instance="c@0", rules=rules, playbook=PLAYBOOK, **extra)
        self.session.state.language = self.session.state.transcript.language = language
        self.at_ms = 0
        self.count = 0
        self.events: list[AlertEvent] = []
        self.outputs: list[Output] = []
        self.requests: list[ScoreRequest] = []
        self.hold_scores = hold_scores

    def give(self, item: Input) -> list[Output]:
        outputs = self.session.receive(item, utc_ms=self.at_ms)
        pending = list(outputs)
        while pending:
            output = pending.pop(0)
            self.outputs.append(output)
            if isinstance(output, AlertEvent):
                self.events.append(output)
            elif isinstance(output, ScoreRequest):
                self.requests.append(output)
                if not self.hold_scores:
                    more = self.session.receive(answer(output), utc_ms=self.at_ms)
                    outputs.extend(more)
                    pending.extend(more)
        return outputs

    def score(self, request: ScoreRequest) -> list[Output]:
        return self.give(answer(request))

    def say(self, who: str, text: str, *, seconds: float = 3, gap: float = 2, **fields: object) -> str:
        """One final; `who` is A, C or U. Returns its segment id."""
        self.at_ms += round(gap * 1000)
        self.count += 1
        name = str(fields.pop("segment_id", f"s{self.count}"))
        speaker = {"A": Speaker.AGENT, "C": Speaker.CUSTOMER, "U": Speaker.UNKNOWN}[who]
        start_ms = int(fields.pop("start_ms", self.at_ms))
        end_ms = int(fields.pop("end_ms", start_ms + round(seconds * 1000)))
        self.at_ms = max(self.at_ms, end_ms)
        self.give(Segment(segment_id=name, speaker=speaker, text=text, start_ms=start_ms, end_ms=end_ms, **fields))
        return name

    def alert(self, kind: str):
        """The open alert of a kind, or None."""
        return next((a for k, a in self.session.state.book.current.items() if k.value == kind), None)

    def level(self, kind: str) -> str:
        alert = self.alert(kind)
        return alert.level.value if alert is not None else "none"


__all__ = ["PLAYBOOK", "RULES", "Call", "ScoreResult", "Unscored"]
