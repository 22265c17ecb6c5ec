"""One process's connection to NATS JetStream: publishing after a known message, reading, following in order, leases.

Knows streams and bytes, nothing of calls. Every wait is bounded and ends in `UnreachableNatsError`; the connection comes back
by itself, with growing pauses, and `failure` says while it is gone. Longer than most files, for all of it shares one
connection and one way to fail.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from server.cluster import subjects
from server.cluster.subjects import ALERT_ROOT, ALERT_STREAM, LEASES, PARTITIONS
from server.errors import SetupError, StorageError
from server.logs import fault

CONNECT_S: Final = 5.0
"""For the first connection; later ones are tried for ever."""
ANSWER_S: Final = 2.0
"""For one answer of the server."""
PAUSE_S: Final = 0.1
MAX_PAUSE_S: Final = 2.0
PATIENCE_S: Final = 10.0
"""So long something is tried again before the caller hears that it did not work: while a stream has no leader the refusals
come at once, and its servers take seconds to agree on one."""
SILENCE_S: Final = 3.0
"""A consumer sends a sign of life each second; after so long without one it is made anew."""
GONE_S: Final = 60.0
"""After so long without a listener the server forgets a consumer."""
WATCH_S: Final = 1.0
USELESS_S: Final = 3.0
"""A server that could not have anything written for so long is left for another one."""
MIN_VERSION: Final = (2, 12)
AT_ONCE: Final = 256
"""Messages on their way to one stream at a time."""
_WRONG_LAST: Final = (10070, 10071, 10164)
"""JetStream's error codes for: the last sequence is another one."""
_LAST_OF_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence"
_LAST_OF_STREAM: Final = "Nats-Expected-Last-Sequence"

_log = logging.getLogger("mamori.cluster")


class UnreachableNatsError(StorageError):
    """NATS did not confirm in time. What was to be written may be there all the same: whoever writes again must find out."""


class ConflictError(StorageError):
    """Another message, or another holder of a lease, came first."""


class _NoAnswerError(Exception):
    """One try was not confirmed; the text says why in a word."""


class _Patience:
    """For how long something is tried again, with growing pauses."""

    def __init__(self) -> None:
        self._until_s = asyncio.get_running_loop().time() + PATIENCE_S
        self._pause_s = PAUSE_S

    async def left(self) -> bool:
        """Waits until the next try; False when there is to be none."""
        if asyncio.get_running_loop().time() >= self._until_s:
            return False
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(MAX_PAUSE_S, self._pause_s * 2)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a stream.

    Args:
        seq: its place in the stream, rising, from 1.
    """

    seq: int
    subject: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A key with its revision, which rises with each change and is never used again."""

    value: str
    revision: int


class JetStream:
    """The connection.

    Args:
        url: of one server or, with commas, several; user, password or token in it.
        replicas: of the streams when they are made, 1 to 3.
        keep_days: after which the log forgets.
        name: of this process, shown by NATS.
    """

    def __init__(self, url: str, *, replicas: int = 1, keep_days: int = 90, name: str = "mamori") -> None:
        self._servers = [item.strip() for item in url.split(",") if item.strip()]
        random.shuffle(self._servers)
        self._replicas, self._keep_days, self._name = replicas, keep_days, name
        self._client = Client()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[Any]] = set()
        self._leases: KeyValue
        self._js: JetStreamContext
        self._failure = ""
        self._opened = self._closing = False

    @property
    def failure(self) -> str:
        """Why nothing can be written now, or empty."""
        return "" if self._client.is_connected else self._failure or "nats_unreachable"

    @property
    def where(self) -> str:
        """The addresses without user and password."""
        return ",".join(sorted(server.rpartition("@")[2].rpartition("/")[2] for server in self._servers))

    async def open(self) -> None:
        """Connects, and makes what is not there yet.

        Raises:
            UnreachableNatsError: nobody answered within `CONNECT_S`; names the address.
            SetupError: not a NATS address, too old, or without JetStream.
        """
        if not self._servers or not all(map(_is_address, self._servers)):
            raise SetupError("nats: expected nats://HOST:PORT")
        self._closing = False
        try:
            async with asyncio.timeout(CONNECT_S):
                self._client = await nats.connect(
                    self._servers,
                    name=self._name,
                    connect_timeout=2,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.2,
                    ping_interval=2,
                    max_outstanding_pings=2,
                    error_cb=self._erred,
                    disconnected_cb=self._lost,
                    reconnected_cb=self._back,
                    allow_reconnect=True,
                    dont_randomize=True,  # A server that is left is the last to be tried again.
                )
        except (OSError, NatsError, TimeoutError) as error:
            raise UnreachableNatsError(f"nats: {self.where} cannot be reached ({type(error).__name__})") from None
        self._opened = True
        self._js = self._client.jetstream(timeout=ANSWER_S)
        try:
            await self._prepare()
        except BaseException:
            await self.close()
            raise
        if len(self._servers) > 1:
            self._begin(self._watch())

    async def _watch(self) -> None:
        """Goes to another server where this one is there but of no use: cut off from the others, it keeps its clients."""
        well_s = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_S)
            if not self._client.is_connected or await self._of_use():
                well_s = time.monotonic()
            elif time.monotonic() - well_s > USELESS_S:
                _log.warning("a NATS server is cut off from the others, another one is tried")
                await self._client.force_reconnect()
                well_s = time.monotonic()

    async def _of_use(self) -> bool:
        """Whether the alert stream has a leader that this server reaches, and most of its copies follow it."""
        try:
            cluster = (await self._js.stream_info(ALERT_STREAM)).cluster
        except (NatsError, TimeoutError, OSError):
            return False
        others: list[api.PeerInfo] = (cluster.replicas if cluster is not None else None) or []
        heard = sum((item.active or 0) < USELESS_S * 1e9 for item in others)
        return bool((1 + heard) * 2 > 1 + len(others))

    async def _prepare(self) -> None:
        version = self._client.connected_server_version
        if (version.major, version.minor) < MIN_VERSION:
            raise SetupError(
                f"nats: server {version.major}.{version.minor}; expected {'.'.join(map(str, MIN_VERSION))} or newer"
            )
        try:
            async with asyncio.timeout(CONNECT_S * 2):
                for partition in range(PARTITIONS):
                    await self._stream(subjects.log_stream(partition), subjects.partition_subjects(partition))
                await self._stream(ALERT_STREAM, f"{ALERT_ROOT}.>")
                try:
                    self._leases = await self._js.key_value(LEASES)
                except NotFoundError:
                    self._leases = await self._js.create_key_value(
                        bucket=LEASES, history=1, replicas=self._replicas, storage=api.StorageType.FILE
                    )
        except (NatsError, TimeoutError) as error:
            raise UnreachableNatsError(
                f"nats: JetStream at {self.where} does not answer ({type(error).__name__})"
            ) from None

    async def _stream(self, name: str, pattern: str) -> None:
        try:
            await self._js.stream_info(name)
        except NotFoundError:
            await self._js.add_stream(
                name=name,
                subjects=[pattern],
                retention=api.RetentionPolicy.LIMITS,
                storage=api.StorageType.FILE,
                discard=api.DiscardPolicy.NEW,
                num_replicas=self._replicas,
                max_age=self._keep_days * 86_400,
                allow_direct=True,
                # Not compressed: after a `kill -9` nats-server 2.15.1 found its own S2 blocks corrupt and the copy stood still.
                compression=api.StoreCompression.NONE,
            )

    async def syncs_always(self) -> bool | None:
        """Whether the server syncs each write to its disk; None where its settings may not be read."""
        try:
            answer = await self._client.request("$SYS.REQ.SERVER.PING.JSZ", b'{"config":true}', timeout=1)
            return bool(json.loads(answer.data)["data"]["config"].get("sync_always", False))
        except (NatsError, KeyError, ValueError, TypeError):
            return None

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a task that ends with the connection."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Ends all reading and the connection."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._opened and not self._client.is_closed:
            await self._client.close()

    # The streams.

    async def publish(self, subject: str, data: bytes, *, after: int | None = None) -> int:
        """Writes a message; it is durable when this returns.

        Args:
            after: the sequence of the last message of this subject, 0 for none; None for wherever.

        Returns:
            Its sequence.

        Raises:
            ConflictError: the subject's last message is another one. After a try that was not answered it may be this very
                message.
            UnreachableNatsError: no answer.
        """
        headers = {} if after is None else {_LAST_OF_SUBJECT: str(after)}
        patience = _Patience()
        while True:
            try:
                return await self._put(subject, data, headers)
            except _NoAnswerError as error:
                self._failure = str(error)
            if not await patience.left():
                raise UnreachableNatsError(f"nats: {self.where} did not confirm a write ({self._failure})")

    async def write(self, stream: str, messages: Sequence[tuple[str, bytes]], *, after: int) -> int:
        """Writes messages one right behind the other, the first right behind `after`; all are durable when this returns.

        Args:
            messages: subject and data, no two alike: that is how a message is known again whose confirmation was lost.
            after: the sequence of the stream's last message.

        Returns:
            The sequence of the last.

        Raises:
            ConflictError: somebody else has written to the stream; some of the messages may be there.
            UnreachableNatsError: no answer; some of the messages may be there.
        """
        done, patience = 0, _Patience()
        while done < len(messages):
            some = messages[done : done + AT_ONCE]
            answers = await asyncio.gather(
                *(
                    self._put(subject, data, {_LAST_OF_STREAM: str(after + done + index)})
                    for index, (subject, data) in enumerate(some)
                ),
                return_exceptions=True,
            )
            before, failed = done, next((item for item in answers if isinstance(item, BaseException)), None)
            while done - before < len(some) and not isinstance(answers[done - before], BaseException):
                done += 1
            if failed is None:
                continue
            if isinstance(failed, ConflictError):
                if not await self._is_there(stream, after + done + 1, messages[done]):
                    raise failed
                done += 1
            elif not isinstance(failed, _NoAnswerError):
                raise failed
            else:
                self._failure = str(failed)
                if done > before:
                    patience = _Patience()
                if not await patience.left():
                    raise UnreachableNatsError(f"nats: {self.where} did not confirm a write ({self._failure})")
        return after + len(messages)

    async def _is_there(self, stream: str, seq: int, message: tuple[str, bytes]) -> bool:
        found = await self._ask(lambda: self._js.get_msg(stream, seq=seq))
        return found is not None and (found.subject, found.data) == message

    async def _put(self, subject: str, data: bytes, headers: dict[str, str]) -> int:
        # While the connection is gone the client would keep the message and send it whenever it is back.
        deadline_s = asyncio.get_running_loop().time() + ANSWER_S
        while not self._client.is_connected:
            if asyncio.get_running_loop().time() >= deadline_s:
                raise _NoAnswerError("nats_unreachable")
            await asyncio.sleep(PAUSE_S)
        try:
            answer = await self._js.publish(subject, data, timeout=ANSWER_S, headers=headers or None)
            return int(answer.seq)
        except APIError as error:
            if error.err_code in _WRONG_LAST:
                raise ConflictError("another message came first") from None
            raise _NoAnswerError(f"nats_{error.err_code}") from None
        except (NatsError, TimeoutError, OSError) as error:
            raise _NoAnswerError(type(error).__name__) from None

    async def last(self, subject: str, *, stream: str) -> Message | None:
        """The last message of a subject, as the stream's leader knows it."""
        found = await self._ask(lambda: self._js.get_msg(stream, subject=subject))
        return None if found is None else Message(seq=found.seq, subject=found.subject, data=found.data or b"")

    async def delete(self, seq: int, *, stream: str) -> None:
        """Overwrites a message on the disk and takes it out; one that is gone is no error."""
        await self._ask(lambda: self._js.delete_msg(stream, seq))

    async def bounds(self, stream: str) -> tuple[int, int]:
        """First and last sequence of a stream; (1, 0) while nothing was ever in it."""
        info = await self._ask(lambda: self._js.stream_info(stream))
        return (info.state.first_seq, info.state.last_seq)

    async def read(self, pattern: str, *, stream: str, after: int = 0, limit: int | None = None) -> list[Message]:
        """What is there now behind a sequence, in order, at most `limit`.

        A consumer may be on a server that has not caught up with the stream yet, so its leader says how far there is to read.

        Raises:
            UnreachableNatsError: no answer.
        """
        found: list[Message] = []
        patience = _Patience()
        while True:
            last = await self.last(pattern, stream=stream)
            at = found[-1].seq if found else after
            if last is None or last.seq <= at:
                return found
            reading = self._consume(stream, pattern, at)
            try:
                while True:
                    async with asyncio.timeout(SILENCE_S):
                        message = await anext(reading)
                    found.append(message)
                    if message.seq >= last.seq or len(found) == limit:
                        return found
            except StopAsyncIteration:
                self._failure = "out of order"
            except (NatsError, TimeoutError, OSError) as error:
                self._failure = type(error).__name__
            finally:
                await reading.aclose()
            if found and found[-1].seq > at:
                patience = _Patience()
            if not await patience.left():
                raise UnreachableNatsError(f"nats: {self.where} does not answer ({self._failure})")

    def follow(self, pattern: str, *, stream: str, after: int, take: Callable[[Message], None]) -> asyncio.Task[None]:
        """Hands on each message behind a sequence in order, once, for ever, whatever becomes of the connection.

        Args:
            take: called on the event loop; must not raise.

        Returns:
            The task; cancelling it ends the following.
        """

        async def forever() -> None:
            at, pause_s = after, PAUSE_S
            while True:
                reading = self._consume(stream, pattern, at)
                try:
                    async for message in reading:
                        take(message)
                        at, pause_s = message.seq, PAUSE_S
                except (NatsError, TimeoutError, OSError):
                    await asyncio.sleep(pause_s)
                    pause_s = min(MAX_PAUSE_S, pause_s * 2)
                finally:
                    await reading.aclose()

        return self._begin(forever())

    async def _consume(self, stream: str, pattern: str, after: int) -> AsyncGenerator[Message, None]:
        """A consumer of one's own: yields messages as they come; ends when order is lost."""
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(inbox)
        config = api.ConsumerConfig(
            deliver_subject=inbox,
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=after + 1,
            ack_policy=api.AckPolicy.NONE,
            max_deliver=1,
            filter_subject=pattern,
            idle_heartbeat=1,
            inactive_threshold=GONE_S,
            mem_storage=True,
            num_replicas=1,
        )
        name = ""
        try:
            made = await self._js.add_consumer(stream, config, timeout=ANSWER_S)
            name = made.name
            expected = 1
            while True:
                message = await subscription.next_msg(timeout=SILENCE_S)
                if message.headers and message.headers.get("Status") == "100":
                    if int(message.headers.get("Nats-Last-Consumer", expected - 1)) != expected - 1:
                        return
                    continue
                facts = message.metadata
                if facts.sequence.consumer != expected:
                    return
                expected += 1
                yield Message(seq=facts.sequence.stream, subject=message.subject, data=message.data)
        finally:
            if self._client.is_connected:
                await subscription.unsubscribe()
                if name:
                    await self._forget(stream, name)

    async def _forget(self, stream: str, name: str) -> None:
        try:
            await self._client.publish(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")
        except (NatsError, OSError):
            return

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        """Asks until there is an answer; None for what is not there."""
        patience = _Patience()
        while True:
            try:
                return await question()
            except NotFoundError:
                return None
            except APIError as error:
                if error.code == 404 or error.err_code in (10037, 10043, 10057):
                    return None
                self._failure = f"nats_{error.err_code}"
            except (NatsError, TimeoutError, OSError) as error:
                self._failure = type(error).__name__
            if not await patience.left():
                raise UnreachableNatsError(f"nats: {self.where} does not answer ({self._failure})")

    # Leases.

    async def leases(self) -> dict[str, Lease]:
        """All leases by key.

        Raises:
            UnreachableNatsError: no answer.
        """
        found = {}
        for message in await self.read("$KV." + LEASES + ".>", stream=f"KV_{LEASES}"):
            found[message.subject.split(".", 2)[2]] = Lease(value=message.data.decode(), revision=message.seq)
        return found

    async def lease(self, key: str) -> Lease | None:
        """One lease, as its leader knows it: any other server may not have heard of the last change.

        Raises:
            UnreachableNatsError: no answer.
        """
        found = await self.last(f"$KV.{LEASES}.{key}", stream=f"KV_{LEASES}")
        return None if found is None else Lease(value=found.data.decode(), revision=found.seq)

    async def take_lease(self, key: str, value: str, *, revision: int) -> int:
        """Changes a lease if it stands at `revision`, 0 for one that was never there; returns the new revision.

        Raises:
            ConflictError: it stands elsewhere.
            UnreachableNatsError: no answer; whether it was changed is not known.
        """
        try:
            return int(await self._leases.update(key, value.encode(), last=revision))
        except KeyWrongLastSequenceError:
            raise ConflictError("somebody else changed the lease") from None
        except (NatsError, TimeoutError, OSError) as error:
            raise UnreachableNatsError(f"nats: {self.where} does not answer ({type(error).__name__})") from None

    # Short messages that nobody keeps.

    async def tell(self, subject: str, data: bytes) -> None:
        """Tells whoever listens now; while the connection is gone nobody hears."""
        if self._client.is_connected:
            try:
                await self._client.publish(subject, data)
            except (NatsError, OSError):
                return

    def tell_soon(self, subject: str, data: bytes) -> None:
        """`tell` without waiting, in the order of the calls."""
        self.soon(self.tell(subject, data))

    def soon(self, work: Coroutine[Any, Any, Any]) -> None:
        """Does something beside what goes on; `close` does not end it."""
        task = asyncio.get_running_loop().create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def hear(self, subject: str, take: Callable[[bytes], None]) -> Any:
        """Listens to what is told; returns the subscription."""

        async def heard(message: Any) -> None:
            take(message.data)

        subscription = await self._client.subscribe(subject, cb=heard)
        await self._registered()
        return subscription

    async def ask(self, subject: str, data: bytes, *, within_s: float) -> bytes:
        """Asks whoever answers on a subject.

        Raises:
            UnreachableNatsError: nobody did.
        """
        try:
            return bytes((await self._client.request(subject, data, timeout=within_s)).data)
        except (NatsError, TimeoutError, OSError) as error:
            raise UnreachableNatsError(f"nobody answered ({type(error).__name__})") from None

    async def answer(self, subject: str, reply: Callable[[bytes], Awaitable[bytes]]) -> Any:
        """Answers what is asked on a subject, each question by itself; returns the subscription."""

        async def one(message: Any) -> None:
            await message.respond(await reply(message.data))

        async def asked(message: Any) -> None:
            self._begin(one(message))

        subscription = await self._client.subscribe(subject, cb=asked)
        await self._registered()
        return subscription

    async def _registered(self) -> None:
        """Waits until the server knows of every subscription: the client's ping overtakes what it was given just before, its
        second one does not."""
        await self._client.flush()
        await self._client.flush()

    async def _erred(self, error: Exception) -> None:
        self._failure = type(error).__name__
        if not isinstance(error, NatsError | OSError):
            _log.error("what was heard could not be taken", extra=fault(error))

    async def _lost(self) -> None:
        self._failure = "nats_unreachable"
        if self._closing:
            return
        _log.warning("NATS is gone, tried again", extra={"where": self.where})

    async def _back(self) -> None:
        self._failure = ""
        _log.warning("NATS is back", extra={"where": self.where})


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("nats", "tls") and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False
