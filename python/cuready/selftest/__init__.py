"""Staged proofs on a GPU, and their report."""
