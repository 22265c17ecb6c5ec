"""Composition root: settings, command line, ingest, alert stream, HTTP, storage, delivery, console."""
