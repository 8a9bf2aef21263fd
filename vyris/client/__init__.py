"""The Python client: `Client` and `AsyncClient`, over native gRPC.

    with Client("localhost:3001") as vyris:
        minted = vyris.mint("receipt-1", "ada")

A failed call raises a class of `vyris.errors`, with `reason`, `retryable` and `request_id`.
"""

from vyris.client.asynchronous import AsyncClient
from vyris.client.connection import Tls
from vyris.client.device import Device
from vyris.client.draw import Draw, Result
from vyris.client.synchronous import Client
from vyris.client.wallet_pass import WalletPass

__all__ = ["AsyncClient", "Client", "Device", "Draw", "Result", "Tls", "WalletPass"]
