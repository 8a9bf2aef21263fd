"""Money that went back: what stores and merchants tell, what follows, and what the operator still has to pay."""
