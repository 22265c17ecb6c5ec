"""What telephony platforms and speech recognisers say, in their own words, turned into call events.

One file a vendor. A vendor's file reads one message into vendor-neutral statements (`heard.py`) and knows nothing of the
calls before it; `source.py` folds the statements into events and keeps what little has to be remembered; `registry.py`
lists them all. House formats are written in TOML (`mapping.py`).
"""
