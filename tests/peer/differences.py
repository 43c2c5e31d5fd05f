"""What differs from TorchServe on purpose. Every entry has its line in docs/compatibility.md.

suite, case, field: patterns of file names; torchserve, sconce: what each says there (a regular expression, or a value)."""

KNOWN = []
