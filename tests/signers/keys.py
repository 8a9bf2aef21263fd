"""A key, and keys that nobody should accept, each with the error for it."""

from __future__ import annotations

import base64
import json

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwt.algorithms import ECAlgorithm

from vyris.device_keys import public_jwk

# The order of P-256 (FIPS 186-4, D.1.2.3).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
KEY = ec.generate_private_key(ec.SECP256R1())
JWK = public_jwk(KEY.public_key())
PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def pem_of(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def pem_block(der: bytes) -> str:
    body = base64.encodebytes(der).decode().replace("\n", "")
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"


def jwk(**changes: object) -> str:
    return json.dumps({name: value for name, value in {**JWK, **changes}.items() if value is not None})


def coordinate(value: int, length: int = 32) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(length, "big")).rstrip(b"=").decode()


DER = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
COMPRESSED = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + KEY.public_key().public_bytes(
    Encoding.X962, PublicFormat.CompressedPoint
)
OFF_CURVE_DER = DER[:-1] + bytes([DER[-1] ^ 1])
FIELD_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1

HOSTILE_KEYS = {
    "empty": ("", "missing"),
    "blank": (" \n", "missing"),
    "a word": ("key", "neither a JWK nor exactly one PEM"),
    "too long": (PEM + "\n" * 3000, "longer than"),
    "private key in PKCS8": (
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "private key",
    ),
    "private key in SEC1": (
        KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(),
        "private key",
    ),
    "private JWK": (json.dumps(ECAlgorithm.to_jwk(KEY, as_dict=True)), "private key"),
    "symmetric JWK": (json.dumps({"kty": "oct", "k": "c2VjcmV0"}), "private key"),
    "text before the PEM": ("key:\n" + PEM, "exactly one PEM"),
    "text after the PEM": (PEM + "x", "exactly one PEM"),
    "two PEM blocks": (PEM + PEM, "exactly one PEM"),
    "a certificate's label": (PEM.replace("PUBLIC KEY", "CERTIFICATE"), "exactly one PEM"),
    "bytes after the key inside the PEM": (pem_block(DER + b"\0"), "no valid public key"),
    "point off the curve in PEM": (pem_block(OFF_CURVE_DER), "no valid public key"),
    "compressed point": (pem_block(COMPRESSED), "uncompressed"),
    "broken base64": (PEM.replace(PEM[40:44], "===="), "no valid public key"),
    "P-384 in PEM": (pem_of(ec.generate_private_key(ec.SECP384R1()).public_key()), "not a P-256 key"),
    "secp256k1 in PEM": (pem_of(ec.generate_private_key(ec.SECP256K1()).public_key()), "not a P-256 key"),
    "RSA in PEM": (pem_of(rsa.generate_private_key(65537, 2048).public_key()), "not a P-256 key"),
    "Ed25519 in PEM": (pem_of(ed25519.Ed25519PrivateKey.generate().public_key()), "not a P-256 key"),
    "P-384 in JWK": (
        json.dumps(public_jwk(ec.generate_private_key(ec.SECP384R1()).public_key())),
        "not a P-256 key",
    ),
    "RSA in JWK": (json.dumps({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), "not a P-256 key"),
    "JWK without y": (jwk(y=None), "y is missing"),
    "JWK with a number for x": (jwk(x=7), "x is missing"),
    "JWK with padding": (jwk(x=JWK["x"] + "="), "base64url"),
    "JWK with a short coordinate": (jwk(x=coordinate(5, 31)), "not 32 bytes"),
    "JWK with a long coordinate": (jwk(x=coordinate(5, 33)), "not 32 bytes"),
    "JWK off the curve": (jwk(x=coordinate(5)), "not on the curve"),
    "JWK at infinity": (jwk(x=coordinate(0), y=coordinate(0)), "not on the curve"),
    "JWK beyond the field": (jwk(x=coordinate(FIELD_PRIME + 5)), "not on the curve"),
    "JWK with x twice": (jwk()[:-1] + f', "x": "{JWK["x"]}"}}', "twice"),
    "JWK for encryption": (jwk(use="enc"), "not meant for ES256"),
    "JWK for another algorithm": (jwk(alg="ES384"), "not meant for ES256"),
    "JWK that may only sign": (jwk(key_ops=["sign"]), "not meant for ES256"),
    "JSON that ends early": ("{", "not a JSON object"),
    "JSON nested deeply": ('{"a":' * 400, "not a JSON object"),
}
