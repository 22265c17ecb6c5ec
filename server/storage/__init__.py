"""Where calls and alerts are kept: the log port, and its embedded implementation on SQLite."""
