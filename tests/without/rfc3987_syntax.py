"""In the place of a package that parses a grammar for 2.3 s of processor time whenever `jupyter_server` is imported.

`jsonschema` uses it for the format "iri", which no schema of Jupyter's or ours has, and does without where it is
missing. Two hundred servers of these tests would spend eight minutes on it.
"""

raise ImportError("left out in tests")
