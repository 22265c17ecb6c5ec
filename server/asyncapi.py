"""`/asyncapi.json`: the websockets as an AsyncAPI 3 document, generated from the types that read and describe messages.

From the server's point of view `receive` is what clients send and `send` is what they get.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final

from server.messages import ALERTS_IN, ALERTS_OUT, FORMAT_OUT, GUIDANCE_OUT, INGEST_OUT, schemas
from server.wire import EVENT_STRUCTS, PROTOCOL, Resume

VERSION: Final = "3.0.0"
_TEMPLATE: Final = "#/components/schemas/{name}"
_SECURITY: Final = {"$ref": "#/components/securitySchemes/bearer"}
_QUERY: Final = {
    "format": "Name of the platform's format.",
    "call_id": "Id of the call that this connection carries, for formats whose messages name none.",
    "speaker": "Whose voice this connection carries: customer or agent.",
    "channels": "Who speaks on which channel number, for example customer,agent.",
    "language": "Language of the call, where the messages do not say.",
    "direction": "inbound or outbound.",
    "queue": "Queue of the call.",
    "agent_id": "Id of the operator.",
    "offset_ms": "Media time at which this stream began.",
}


def _name(kind: type) -> str:
    """A component's name: our private event types appear as `Event…`."""
    return f"Event{kind.__name__.removeprefix('_')}" if kind.__name__.startswith("_") else kind.__name__


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            key: names.get(found, found) if key in ("$ref",) else _renamed(found, names) for key, found in value.items()
        }
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value


def _message(kind: type, schema: dict[str, Any]) -> dict[str, Any]:
    name = _name(kind)
    return {
        "name": name,
        "title": name,
        "summary": inspect.cleandoc(kind.__doc__ or "").split("\n")[0],
        "contentType": "application/json",
        "payload": schema,
    }


def _channel(address: str, description: str, kinds: Iterable[type], query: dict[str, Any]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": text} for name, text in query.items()}
    return {
        "address": address,
        "description": description,
        "messages": {_name(kind): {"$ref": f"#/components/messages/{_name(kind)}"} for kind in kinds},
        "bindings": {
            "ws": {"method": "GET", "query": {"type": "object", "properties": properties}, "bindingVersion": "0.1.0"}
        },
    }


def _operation(action: str, channel: str, summary: str, kinds: Iterable[type]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{_name(kind)}"} for kind in kinds],
    }


def _channels(ingest_in: tuple[type, ...], platform: type) -> dict[str, Any]:
    return {
        "ingest": _channel("/v1/ingest", "Events in our own protocol.", (*ingest_in, *INGEST_OUT), {}),
        "format": _channel("/v1/ingest", "A platform's own messages.", (platform, *FORMAT_OUT), _QUERY),
        "alerts": _channel(
            "/v1/alerts",
            "Alerts and, on request, statuses and transcripts; commands of supervisors.",
            (*ALERTS_IN, *ALERTS_OUT),
            {
                "after": "Cursor after which to go on.",
                "queues": "Only these queues, by commas.",
                "calls": "1: call statuses as well.",
                "batch": "1: what has come up comes as one frame, a JSON array of messages in their order.",
            },
        ),
        "guidance": _channel(
            "/v1/guidance",
            "Where one call stands, for its operator; no transcript text.",
            GUIDANCE_OUT,
            {"call": "Id of the call."},
        ),
    }


def _operations(ingest_in: tuple[type, ...], platform: type) -> dict[str, Any]:
    return {
        "takeEvents": _operation("receive", "ingest", "A platform sends events.", ingest_in),
        "answerEvents": _operation("send", "ingest", "The server acknowledges them.", INGEST_OUT),
        "takeMessages": _operation("receive", "format", "A platform sends its own messages.", (platform,)),
        "answerMessages": _operation("send", "format", "The server acknowledges them.", FORMAT_OUT),
        "takeCommands": _operation("receive", "alerts", "A supervisor acts.", ALERTS_IN),
        "tellAlerts": _operation("send", "alerts", "The server tells.", ALERTS_OUT),
        "tellGuidance": _operation("send", "guidance", "The server tells the operator.", GUIDANCE_OUT),
    }


def asyncapi_document(*, version: str, formats: Iterable[str]) -> dict[str, Any]:
    """The document.

    Args:
        version: of the product.
        formats: names of the formats that this server understands.
    """
    ingest_in = (*EVENT_STRUCTS, Resume)
    kinds = tuple(dict.fromkeys((*ingest_in, *INGEST_OUT, *FORMAT_OUT, *ALERTS_IN, *ALERTS_OUT, *GUIDANCE_OUT)))
    found, components = schemas(kinds, template=_TEMPLATE)
    names = {_TEMPLATE.format(name=kind.__name__): _TEMPLATE.format(name=_name(kind)) for kind in kinds}
    renamed = {key: f"Event{key.removeprefix('_')}" for key in components if key.startswith("_")}
    names |= {_TEMPLATE.format(name=old): _TEMPLATE.format(name=new) for old, new in renamed.items()}
    messages = {_name(kind): _message(kind, _renamed(schema, names)) for kind, schema in zip(kinds, found, strict=True)}
    messages["PlatformMessage"] = {
        "name": "PlatformMessage",
        "title": "PlatformMessage",
        "summary": f"A message as the platform wrote it; formats here: {', '.join(formats)}.",
        "payload": {},
    }
    platform: Any = type("PlatformMessage", (), {})
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Mamori",
            "version": version,
            "description": f"Call events in, alerts out; protocol version {PROTOCOL}.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "house": {
                "host": "{host}",
                "protocol": "wss",
                "variables": {"host": {"default": "localhost:8787", "description": "Where the house runs it."}},
                "security": [_SECURITY],
            }
        },
        "channels": _channels(ingest_in, platform),
        "operations": _operations(ingest_in, platform),
        "components": {
            "schemas": {renamed.get(key, key): _renamed(schema, names) for key, schema in components.items()},
            "messages": messages,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`Authorization: Bearer TOKEN`, or the subprotocols `mamori.v1, bearer.TOKEN`.",
                }
            },
        },
    }
