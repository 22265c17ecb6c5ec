"""Folds what a platform says into call events, with the traps that all platforms share.

Repeated deliveries, partials that a final overtook, times told in four ways, roles by channel, streams that end before
their call does, calls that the log knows from before a restart. What is remembered in between is in `source.py`.
"""

from __future__ import annotations

from hashlib import sha256

from detector.adapters.errors import FieldError
from detector.adapters.frame import Envelope, Format
from detector.adapters.heard import Began, Happened, Heard, Over, Said, StreamBegan, Unknown, Wrong
from detector.adapters.reading import MASK, MAX_MS, looks_masked, utc_text
from detector.adapters.source import (
    MAX_CALLS,
    MAX_CHANNELS,
    MAX_ID_CHARS,
    MAX_KINDS,
    MAX_METADATA,
    MAX_OPEN,
    MAX_PIECES,
    MAX_RECENT,
    MAX_REPORTS,
    MAX_TEXT_CHARS,
    CallView,
    Channel,
    Report,
    ReportKind,
    Source,
    clip,
    clip_id,
    speech_ms,
)
from detector.events import CallEnded, CallEvent, CallStarted, PlatformEvent, Segment
from detector.labels import Speaker


def feed(form: Format, source: Source, data: bytes, envelope: Envelope) -> tuple[Source, list[CallEvent]]:
    """Adapts one message.

    Args:
        source: as the last call returned it.
        data: the message.
        envelope: what came around it.

    Returns:
        The new state and the events, none of which is numbered.

    Raises:
        AdapterError: the message cannot be read; the state is as it was.
    """
    heard = list(form.read(data, envelope))
    fold = _Fold(form, source, envelope)
    fold.count("messages")
    for item in heard:
        try:
            fold.take(item)
        except FieldError as error:
            fold.wrong(error.field, error.message)
    fold.count("events", len(fold.events))
    return source, fold.events


class _Fold:
    """One message's way into a source."""

    def __init__(self, form: Format, source: Source, envelope: Envelope) -> None:
        self._form = form
        self._source = source
        self._envelope = envelope
        self.events: list[CallEvent] = []

    def count(self, name: str, by: int = 1) -> None:
        self._source.counts[name] = self._source.counts.get(name, 0) + by

    def wrong(self, name: str, expected: str) -> None:
        self.count("wrong")
        self._report(ReportKind.WRONG_ITEM, f"{name}: {expected}")

    def take(self, item: Heard) -> None:
        match item:
            case Unknown():
                self._unknown(item.kind)
            case Wrong():
                self.wrong(item.field, item.expected)
            case Began():
                self._began(item)
            case StreamBegan():
                call_id, call = self._open(item.call_id)
                self._stream(call, item.stream, origin_ms=call.last_ms if item.stream in call.streams else None)
            case Said():
                self._said(item)
            case Happened():
                call_id, call = self._open(item.call_id, at_ms=item.at_ms)
                if not call.over:
                    at_ms = self._moment(call, item.offset_ms, item.at_ms)
                    self._tell(call_id, item.body(at_ms))
                else:
                    self.count("late")
            case Over():
                self._over(item)

    # Calls.

    def _call_id(self, given: str) -> str:
        call_id = given or self._envelope.query.get("call_id", "")
        if not 0 < len(call_id) <= MAX_ID_CHARS:
            raise FieldError("call_id", f"expected a text of 1 to {MAX_ID_CHARS} characters")
        return call_id

    def _open(self, given: str, *, at_ms: int | None = None, began: Began | None = None) -> tuple[str, CallView]:
        call_id = self._call_id(given)
        call = self._source.calls.get(call_id)
        if call is not None:
            self._source.calls.move_to_end(call_id)
            return call_id, call
        while len(self._source.calls) >= MAX_CALLS:
            self._source.calls.popitem(last=False)
        known = self._envelope.known(call_id)
        call = CallView()
        if known is not None:
            call.started_ms, call.over = known.started_ms, known.ended_ms is not None
            call.last_ms = min(MAX_MS, max(0, (known.ended_ms or 0) - known.started_ms))
            call.direction = self._direction("")
            self._source.calls[call_id] = call
            return call_id, call
        began = began or Began(call_id=call_id, at_ms=at_ms)
        self._start(call_id, call, began)
        self._source.calls[call_id] = call
        return call_id, call

    def _start(self, call_id: str, call: CallView, began: Began) -> None:
        query = self._envelope.query
        language = (began.language or query.get("language", "") or "ja").replace("_", "-").split("-")[0].lower()
        call.started_ms = began.at_ms
        call.language = language if 2 <= len(language) <= 35 else "ja"
        call.direction = self._direction(began.direction)
        body = CallStarted(
            language=call.language,
            queue=clip(began.queue or query.get("queue", "")),
            direction=call.direction,
            agent_id=clip(began.agent_id or query.get("agent_id", "")),
            agent_name=clip(began.agent_name),
            metadata={"platform": self._form.name, **dict(list(began.metadata.items())[:MAX_METADATA])},
        )
        at = utc_text(began.at_ms) if began.at_ms is not None and 0 <= began.at_ms < 253_402_300_800_000 else None
        caller = clip(began.caller) if began.caller else None
        self.events.append(CallEvent(call_id=call_id, body=body, at=at, caller=caller))

    def _direction(self, told: str) -> str:
        written = told or self._envelope.query.get("direction", "")
        return "outbound" if written.lower() == "outbound" else "inbound"

    def _began(self, item: Began) -> None:
        _, call = self._open(item.call_id, at_ms=item.at_ms, began=item)
        for channel, speaker in list(item.roles.items())[:MAX_CHANNELS]:
            call.roles[channel] = speaker
        if call.started_ms is None:
            call.started_ms = item.at_ms
        if item.stream:
            self._stream(call, item.stream)

    def _stream(self, call: CallView, stream: str, *, origin_ms: int | None = None) -> None:
        if stream not in call.streams and len(call.streams) < MAX_CHANNELS:
            call.streams[stream] = self._offset_ms()
        if origin_ms is not None and stream in call.streams:
            call.streams[stream] = origin_ms

    def _offset_ms(self) -> int:
        written = self._envelope.query.get("offset_ms", "")
        return min(int(written), MAX_MS) if written.isascii() and written.isdigit() and len(written) < 12 else 0

    def _over(self, item: Over) -> None:
        call_id = self._call_id(item.call_id)
        if call_id not in self._source.calls and self._envelope.known(call_id) is None:
            self.count("late")
            return
        call_id, call = self._open(call_id)
        if call.over:
            self.count("late")
            return
        if item.stream:
            call.streams.pop(item.stream, None)
            alone = "speaker" in self._envelope.query and "sides" not in self._envelope.query
            if call.streams or (alone and len(call.channels) < 2):
                return
        offset_ms = item.offset_ms
        if offset_ms is not None and item.session_ms is not None and call.started_ms is not None:
            offset_ms += item.session_ms - call.started_ms
        at_ms = max(call.last_ms, self._moment(call, offset_ms, item.at_ms))
        call.over = True
        call.pieces.clear()
        call.channels.clear()
        self._tell(call_id, CallEnded(offset_ms=at_ms, reason=clip(item.reason)))
        call.last_ms = at_ms

    # Speech.

    def _said(self, item: Said) -> None:
        call_id = self._call_id(item.call_id)
        began = Began(
            call_id=call_id,
            at_ms=item.session_ms if item.session_ms is not None else self._origin(item),
            language=item.language,
        )
        call_id, call = self._open(call_id, began=began)
        if call.over:
            again = self._goes_on(call_id, call, item)
            if again is None:
                self.count("late")
                return
            call = again
        if call.started_ms is None:
            call.started_ms = began.at_ms
        if item.stream:
            self._stream(call, item.stream)
        if len(item.text) > MAX_TEXT_CHARS:
            raise FieldError("text", f"expected at most {MAX_TEXT_CHARS} characters")
        speaker = self._speaker(call, item)
        # Of two streams with one voice each both may call their channel 0.
        lane = self._envelope.query.get("speaker", "") or item.channel or speaker.value
        channel = self._channel(call, lane)
        start_ms, end_ms = self._times(call, channel, item)
        segment_id = self._segment_id(channel, item, start_ms, lane)
        if self._is_old(call, item, segment_id, end_ms, lane):
            self.count("repeated")
            return
        words = self._words(call, item, segment_id, start_ms, end_ms)
        if item.masked or looks_masked(words):
            self._masked()
        if item.masked and item.is_final and not words.strip():
            words = MASK  # nothing else was said: the flag must not fall with the words
        self._close_or_keep(call, channel, item, segment_id, start_ms, end_ms)
        if not words.strip() and not (item.is_final and channel.has_partial):
            return
        channel.has_partial = not item.is_final
        call.last_ms = max(call.last_ms, end_ms)
        language = item.language.replace("_", "-").split("-")[0].lower() if item.language else ""
        self._tell(
            call_id,
            Segment(
                segment_id=segment_id,
                speaker=speaker,
                text=words,
                start_ms=start_ms,
                end_ms=end_ms,
                is_final=item.is_final,
                confidence=item.confidence,
                language="" if language == call.language else language[:35],
                masked=item.masked,
            ),
        )

    def _origin(self, item: Said) -> int | None:
        """UTC of media time 0 as far as a message without a start can tell."""
        at_ms = item.at_ms if item.at_ms is not None else self._envelope.received_ms
        if at_ms is None:
            return None
        spoken_ms = item.end_ms if item.end_ms is not None else speech_ms(item.text, item.language or "ja")
        return at_ms - round(min(spoken_ms, MAX_MS)) - self._offset_ms()

    def _goes_on(self, call_id: str, call: CallView, item: Said) -> CallView | None:
        """A stream that began after the call's end (a transfer): the call goes on, as a new instance."""
        if item.session_ms is None or call.started_ms is None or item.session_ms < call.started_ms + call.last_ms:
            return None
        fresh = self._source.calls[call_id] = CallView()
        self._start(call_id, fresh, Began(call_id=call_id, at_ms=item.session_ms, language=item.language))
        return fresh

    def _speaker(self, call: CallView, item: Said) -> Speaker:
        if item.speaker is not None:
            return item.speaker
        if item.channel in call.roles:
            return call.roles[item.channel]
        told = self._envelope.channel_role(item.channel)
        if told is None:
            return self._form.channel_role(item.channel, call.direction) or Speaker.UNKNOWN
        if self._form.shaky_channels and "speaker" not in self._envelope.query:
            self._channel(call, item.channel)
            return told if sum(name.isdigit() for name in call.channels) > 1 else Speaker.UNKNOWN
        return told

    def _channel(self, call: CallView, name: str) -> Channel:
        channel = call.channels.get(name)
        if channel is None:
            if len(call.channels) >= MAX_CHANNELS:
                call.channels.pop(next(iter(call.channels)))
            channel = call.channels[name] = Channel()
        return channel

    def _times(self, call: CallView, channel: Channel, item: Said) -> tuple[int, int]:
        if item.start_ms is None and item.end_ms is None:
            end_ms = self._moment(call, None, item.at_ms, after_ms=speech_ms(item.text, call.language))
            if channel.open_id:
                return min(channel.open_ms, end_ms), end_ms
            return max(min(channel.last_ms, end_ms), end_ms - speech_ms(item.text, call.language)), end_ms
        base = call.streams.get(item.stream, self._offset_ms()) if item.session_ms is None else 0
        if item.session_ms is not None and call.started_ms is not None:
            base = item.session_ms - call.started_ms
        end = item.end_ms if item.end_ms is not None else item.start_ms
        start = item.start_ms
        if start is None:
            start = channel.open_ms - base if channel.open_id else (end or 0) - speech_ms(item.text, call.language)
        start, end = start + base, (end or 0) + base
        if not -60_000 <= start <= MAX_MS or end > MAX_MS:
            raise FieldError("start", "expected a time within the call")
        start_ms = max(0, int(start))
        return start_ms, max(start_ms, int(end))

    def _moment(self, call: CallView, offset_ms: float | None, at_ms: int | None, *, after_ms: int = 0) -> int:
        """Media time of something: by its offset, else by its UTC, else by its receipt, else right after the last."""
        if offset_ms is not None:
            if not 0 <= offset_ms <= MAX_MS:
                raise FieldError("offset", "expected a time within the call")
            return int(offset_ms)
        at_ms = at_ms if at_ms is not None else self._envelope.received_ms
        if at_ms is None or call.started_ms is None:
            return min(call.last_ms + after_ms, MAX_MS)
        if at_ms - call.started_ms > MAX_MS:
            raise FieldError("at", "expected a time within the call")
        return max(0, at_ms - call.started_ms)

    def _segment_id(self, channel: Channel, item: Said, start_ms: int, lane: str) -> str:
        if item.utterance_id:
            return clip_id(item.utterance_id)
        if channel.open_id:
            return channel.open_id
        return clip_id(f"{lane}/{item.order}" if item.order is not None else f"{lane}@{start_ms}")

    def _is_old(self, call: CallView, item: Said, segment_id: str, end_ms: int, lane: str) -> bool:
        """Whether this came before, or is a partial that a final has overtaken; notes a new final."""
        keys = [segment_id]
        if item.order is not None:
            newest = call.newest_order.get(lane, -1)
            if not item.is_final and item.order < newest:
                return True
            keys.append(f"{lane}#{item.order}")
        elif item.repeat_id:
            keys.append(f"={item.repeat_id}")
        elif not item.utterance_id:
            keys.append(f"{lane}|{end_ms}|{sha256(item.text.encode('utf-8', 'surrogatepass')).hexdigest()}")
        if any(key in call.recent for key in keys):
            return True
        if item.is_final:
            if item.order is not None:
                call.newest_order[lane] = max(newest, item.order)
            call.recent.update(dict.fromkeys(keys))
            while len(call.recent) > MAX_RECENT:
                call.recent.popitem(last=False)
        return False

    def _words(self, call: CallView, item: Said, segment_id: str, start_ms: int, end_ms: int) -> str:
        words = "".join("\ufffd" if 0xD800 <= ord(char) <= 0xDFFF else char for char in item.text)
        if item.is_final:
            call.pieces.pop(segment_id, None)
            return words
        if not item.piece:
            return words
        if segment_id not in call.pieces and len(call.pieces) >= MAX_OPEN:
            del call.pieces[next(iter(call.pieces))]
        parts = call.pieces.setdefault(segment_id, {})
        if item.piece not in parts and len(parts) >= MAX_PIECES:
            del parts[next(iter(parts))]
        parts[item.piece] = (start_ms, end_ms, words)
        joint = "" if call.language == "ja" else " "
        return joint.join(part[2] for part in sorted(parts.values()))[:MAX_TEXT_CHARS]

    def _close_or_keep(
        self, call: CallView, channel: Channel, item: Said, segment_id: str, start_ms: int, end_ms: int
    ) -> None:
        if item.is_final:
            channel.open_id, channel.last_ms = "", max(channel.last_ms, end_ms)
        elif not channel.open_id and not item.utterance_id:
            channel.open_id, channel.open_ms = segment_id, start_ms

    # What is told on.

    def _tell(self, call_id: str, body: PlatformEvent) -> None:
        self.events.append(CallEvent(call_id=call_id, body=body))

    def _masked(self) -> None:
        if not self._source.masked:
            self._source.masked = True
            self._report(ReportKind.MASKED, "words are masked before they get here: switch the profanity filter off")

    def _unknown(self, kind: str) -> None:
        name = kind if kind and len(kind) <= 64 and kind.isascii() and kind.isprintable() else "other"
        if name not in self._source.unknown and len(self._source.unknown) >= MAX_KINDS - 1:
            name = "other"
        if name not in self._source.unknown:
            self._report(ReportKind.UNKNOWN_TYPE, name)
        self._source.unknown[name] = self._source.unknown.get(name, 0) + 1

    def _report(self, kind: ReportKind, detail: str) -> None:
        report = Report(kind=kind, detail=detail)
        if len(self._source.reports) < MAX_REPORTS and report not in self._source.reports:
            self._source.reports.append(report)
