"""What a Python caller of VYRIS imports: the client, messages and stubs, errors, device keys and proofs."""
