"""`/openapi.json`: what FastAPI finds out by itself, completed by the refusals that every endpoint can give."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

_REFUSAL: Final[dict[str, Any]] = {
    "title": "Refusal",
    "description": "Why a request was refused: in general, of a supervisor's command, or of a body that cannot be read.",
    "anyOf": [
        {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["code", "message"],
                    "properties": {
                        "code": {"type": "string"},
                        "field": {"type": ["string", "null"]},
                        "message": {"type": "string"},
                    },
                }
            },
        },
        {
            "type": "object",
            "required": ["type", "code", "message"],
            "properties": {"type": {"const": "error"}, "code": {"type": "string"}, "message": {"type": "string"}},
        },
        {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}},
    ],
}
_EVERYWHERE: Final = {
    "400": "The body cannot be read, or a field is wrong.",
    "401": "Token or session missing or wrong.",
    "403": "Not for this role.",
    "429": "Too many requests; `Retry-After` says when to come back.",
    "503": "Not stored or overloaded; try again.",
}
_OF_ONE: Final = {"404": "There is no such thing.", "409": "Somebody was first, or it is over."}
"""Of endpoints with a parameter in their path."""
_BY_PATH: Final[dict[str, dict[str, str]]] = {
    "/v1/ingest/{name}": {"413": "The body is larger than the setting `max_webhook_bytes`."},
    "/v1/rules/shadow": {"404": "No candidate rules are followed."},
    "/v1/session/oidc": {"302": "To the identity provider.", "404": "No identity provider is set up."},
    "/v1/session/oidc/callback": {"302": "To the console.", "404": "No identity provider is set up."},
}


class DocumentedApi(FastAPI):
    """FastAPI, whose document names every status."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if not self.openapi_schema:
            complete(super().openapi())
        assert self.openapi_schema is not None  # noqa: S101 - just made
        return self.openapi_schema


def complete(document: dict[str, Any]) -> None:
    """Adds the refusals to every operation of an OpenAPI document, in place; what an endpoint says itself stays."""
    document.setdefault("components", {}).setdefault("schemas", {})["Refusal"] = _REFUSAL
    for path, operations in document["paths"].items():
        statuses = _EVERYWHERE | (_OF_ONE if "{" in path else {}) | _BY_PATH.get(path, {})
        for operation in operations.values():
            for status, description in statuses.items():
                found = operation["responses"].setdefault(status, {"description": description})
                if not status.startswith("3"):
                    found.setdefault(
                        "content", {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
                    )
            operation["responses"].setdefault(
                "421", {"description": "Host or origin not allowed.", "content": {"text/plain": {}}}
            )
