"""The pip half of an environment: resolve to exact files, lock, fetch through mirrors, install.

The phases, each in its own module: ``resolve`` asks an index which files the requirements mean (uv
does that, in a child process), ``lock`` keeps the answer as PEP 751 ``pylock.toml`` with canonical
addresses, ``fetch`` brings every file into the cache, ``install`` unpacks from there and needs no
network, ``records`` reads back what a prefix holds.
"""
