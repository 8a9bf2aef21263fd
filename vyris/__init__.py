"""What a Python caller of VYRIS imports: messages, stubs and errors."""
