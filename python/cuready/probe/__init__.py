"""Readers: each returns facts about the machine, or says why it could not. They never judge."""
