"""The command line: parse, call, render. It knows nothing of its own."""
