"""Money that went back: what stores and merchants tell, and what follows."""
