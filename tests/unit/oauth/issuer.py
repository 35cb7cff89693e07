"""An issuer of tokens for tests: real keys, real tokens, and its JWK Set on a real HTTP server."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from infra.oauth.issuers import OAuthIssuer

AUDIENCE = "casaflow"
NAME = "https://id.bank.example"
_CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class Issuer:
    """Signs with one key at a time; its JWK Set has all that were not withdrawn."""

    def __init__(self, algorithm: str = "ES256") -> None:
        self._keys: dict[str, tuple[str, Any]] = {}
        self.kid = ""
        self.rotate(algorithm)

    def rotate(self, algorithm: str = "ES256", *, bits: int = 2048) -> None:
        """Sign with a new key from now on."""
        key: Any
        if algorithm.startswith("ES"):
            key = ec.generate_private_key(_CURVES[algorithm])
        elif algorithm == "EdDSA":
            key = ed25519.Ed25519PrivateKey.generate()
        else:
            key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self.kid = f"key-{len(self._keys) + 1}-{algorithm}"
        self._keys[self.kid] = (algorithm, key)

    def withdraw(self, kid: str) -> None:
        """Leave a key out of the JWK Set from now on."""
        del self._keys[kid]

    @property
    def private_key(self) -> Any:
        """The one that signs."""
        return self._keys[self.kid][1]

    @property
    def jwks(self) -> bytes:
        """The JWK Set."""
        return json.dumps({"keys": [_jwk(kid, algorithm, key) for kid, (algorithm, key) in self._keys.items()]}).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Of a good token; None leaves one out."""
        now = int(time.time())
        claims = {
            "iss": NAME,
            "aud": AUDIENCE,
            "sub": "jana",
            "tenant": "bank-1",
            "scope": "openid read transactions:write",
            "client_id": "branch",
            "iat": now,
            "exp": now + 300,
            "jti": uuid.uuid4().hex,
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """A token that is good but for the changes."""
        algorithm, key = self._keys[self.kid]
        return jwt.encode(self.claims(**changes), key, algorithm=algorithm, headers={"typ": "at+jwt", "kid": self.kid, **(headers or {})})

    @staticmethod
    def settings(jwks: str, **changes: Any) -> OAuthIssuer:
        """As an installation sets it up."""
        return OAuthIssuer(**{"issuer": NAME, "audience": AUDIENCE, "jwks": jwks, **changes})


def _jwk(kid: str, algorithm: str, key: Any) -> dict[str, Any]:
    made: dict[str, Any]
    if algorithm.startswith("ES"):
        made = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif algorithm == "EdDSA":
        made = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        made = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": kid, "use": "sig", "alg": algorithm}
