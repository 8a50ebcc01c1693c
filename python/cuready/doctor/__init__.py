"""Checks over a Snapshot, their findings, and what to do about them."""
