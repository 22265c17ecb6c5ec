"""The pure core: a call is a fold over its events.

Knows nothing about asyncio, clocks, the environment, torch, networks or databases: time and scores come in as
arguments, decisions and requests come out as values. Standard library and numpy only.
"""
