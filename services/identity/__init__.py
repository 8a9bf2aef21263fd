"""Keys and the proof of who calls: signatures, published keys, bearer tokens, device proofs, ownership."""
