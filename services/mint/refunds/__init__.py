"""Refunds: notifications by stores and merchants, and their effects."""
