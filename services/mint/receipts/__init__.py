"""What a receipt is worth: verifiers, one a kind, told apart by the receipt's form."""
