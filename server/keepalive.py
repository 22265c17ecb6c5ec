"""Pings that do not take a peer for dead because we are the ones who do not read.

uvicorn stops reading a connection while a message of it waits for the application. A pong stands behind what was sent
before it, so a server that is slow for longer than the timeout would cut off every busy connection at once, at the worst
moment, and all of them would come back and send again what was not acknowledged.
"""

from __future__ import annotations

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol


class PatientProtocol(WebSocketsSansIOProtocol):
    """uvicorn's protocol; a ping is asked again instead of failed while its answer may lie unread, or if anything came since."""

    heard_at = 0.0
    """Loop time at which bytes came last."""

    def data_received(self, data: bytes) -> None:
        """Bytes came, whatever they are."""
        self.heard_at = self.loop.time()
        super().data_received(data)

    def keepalive_timeout(self) -> None:
        """No pong came in time; of a peer that was not read, or that said something else, this means nothing."""
        if not self.read_paused and self.heard_at <= self.ping_sent_at:
            super().keepalive_timeout()
            return
        self.pong_timer = None
        self.schedule_ping()
