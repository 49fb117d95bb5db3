"""Invoke tasks beyond the chain, one module a subject; tasks.py puts them together."""
