"""Line-exact editors of .condarc, pip.conf, uv.toml and rattler's config.toml.

Each takes the text of a file and returns the new text. Only the bytes of a changed value or line
differ, and a real parser has to read exactly the intended change from the result.
"""
