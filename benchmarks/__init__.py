"""Commands that print a table of figures and write JSON; none is a test."""
