"""The tests' own shop, which signs orders and refunds and publishes its keys."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://shop.test"


class MerchantSigner:
    """Signs with its newest key; all keys stay published."""

    def __init__(self) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.kid = ""
        self.rotate()

    def rotate(self) -> None:
        self.kid = f"key-{len(self.keys) + 1}"
        self.keys[self.kid] = ec.generate_private_key(ec.SECP256R1())

    def jwks(self) -> str:
        keys = []
        for kid, key in self.keys.items():
            jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
            keys.append({**jwk, "kid": kid, "use": "sig", "alg": "ES256"})
        return json.dumps({"keys": keys})

    def write_jwks(self, folder: Path) -> Path:
        path = folder / "jwks.json"
        path.write_text(self.jwks())
        return path

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, self.keys[self.kid], algorithm="ES256", headers={"kid": self.kid, **headers})

    def receipt(self, user: str, **changes: Any) -> str:
        """An order of `user`. A change to None omits the claim."""
        return self.sign(
            {
                "iss": ISSUER,
                "jti": str(uuid.uuid4()),
                "sub": user,
                "drop": "genesis:2025",
                "iat": int(time.time()),
                **changes,
            }
        )

    def notification(self, event: str, order: str, /, **changes: Any) -> str:
        return self.sign(
            {
                "iss": ISSUER,
                "jti": str(uuid.uuid4()),
                "iat": time.time(),
                "event": event,
                "transaction": order,
                **changes,
            }
        )
