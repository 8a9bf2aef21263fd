"""The package for Python callers of VYRIS: the client, messages and stubs, errors, device keys and proofs."""
