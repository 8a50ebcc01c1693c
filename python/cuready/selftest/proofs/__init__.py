"""The proofs: one function for each stage, run in the child process."""
