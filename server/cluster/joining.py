"""How a process joins a cluster: the servers must answer, be new enough, and every machine must hold the same secret."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import socket
import time
from typing import Any

from server.cluster.bus import ClusterHub
from server.cluster.jetstream import JetStream
from server.cluster.log import ClusterLog
from server.cluster.subjects import PARTITIONS
from server.errors import SetupError, StorageError
from server.keeper import START_PAUSES_S
from server.keys import house_key
from server.settings import Settings
from server.storage.keyfile import open_vault
from server.storage.queued import QueuedLog

_log = logging.getLogger("mamori.cluster")


def join_cluster(settings: Settings) -> ClusterLog:
    """Opens the cluster's log, waiting a while for servers that are not there yet.

    Raises:
        SetupError: a server cannot be reached, or this machine has another secret than the others; says which.
    """
    for pause_s in (*START_PAUSES_S, None):
        try:
            return _join(settings)
        except StorageError as error:
            if pause_s is None:
                raise SetupError(str(error)) from None
            _log.warning("%s, tried again", error)
            time.sleep(pause_s)
    raise AssertionError


def _join(settings: Settings) -> ClusterLog:
    log = ClusterLog(
        settings.nats or "",
        settings.database or "",
        data_dir=settings.data_dir,
        vault=open_vault(settings.data_dir, settings.encryption.source),
        replicas=settings.nats_replicas,
        keep_days=settings.keep_days,
    )
    key = house_key(settings.data_dir, "caller", settings.caller_key_file)
    try:
        if not log.agree("caller_key_file", hashlib.sha256(b"mamori caller key" + key).hexdigest()):
            raise SetupError("caller_key_file: not the one of the other machines of this cluster")
        if not log.agree("partitions", str(PARTITIONS)):
            raise SetupError(
                f"partitions: this program has {PARTITIONS}, the other machines of this cluster have another number"
            )
        synced = log.syncs_always()
        if synced is not True:
            _log.warning(
                "NATS %s: without sync_interval: always a power failure loses acknowledged events",
                "does not sync each write" if synced is False else "does not tell whether it syncs each write",
            )
    except BaseException:
        log.close()
        raise
    return log


def parts(settings: Settings, log: QueuedLog) -> dict[str, Any]:
    """What `ClusterRuntime` needs beside `Runtime`; nothing where there is no cluster."""
    if not isinstance(log, ClusterLog):
        return {}
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:40]
    name = f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
    nats = JetStream(settings.nats or "", replicas=settings.nats_replicas, keep_days=settings.keep_days, name=name)
    return {
        "nats": nats,
        "bus": ClusterHub(nats, log, name),
        "cluster_log": log,
        "name": name,
        "works": settings.role != "gateway",
    }
