"""Mamori's own labelled utterances: schema, building, hygiene and the agreement between two labellings."""
