"""Triton (SmartOS): its CloudAPI, asked over HTTP with requests that one of the account's SSH keys signs."""
