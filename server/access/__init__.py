"""How people sign in: local accounts, OpenID Connect, sessions, and limits on how often anything may be tried."""
