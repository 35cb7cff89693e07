from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from infra.oauth.tokens import AccessTokens, InvalidTokenError
from infra.settings import Settings
from ledger.errors import UnavailableError
from tests.unit.oauth.issuer import Issuer
from tests.unit.rates.server import RatesServer, answers


@pytest.fixture
async def server() -> AsyncIterator[RatesServer]:
    async with RatesServer() as running:
        yield running


@pytest.fixture
def issuer(server: RatesServer) -> Issuer:
    made = Issuer()
    server.answer = answers(made.jwks)
    return made


def _tokens(server: RatesServer, *, asked_every_seconds: float = 3_600.0, kept_seconds: float = 3_600.0, **settings: Any) -> AccessTokens:
    return AccessTokens([Issuer.settings(server.url, **settings)], asked_every_seconds=asked_every_seconds, kept_seconds=kept_seconds)


@pytest.fixture
def tokens(server: RatesServer) -> AccessTokens:
    return _tokens(server)


async def test_a_token_names_tenant_principal_and_scopes_that_casaflow_knows(issuer: Issuer, tokens: AccessTokens) -> None:
    principal = await tokens.authenticate(issuer.token(jti="t-1"))
    assert (principal.tenant, principal.name, principal.key_id) == ("bank-1", "jana", "token:t-1")
    assert principal.scopes == ("read", "transactions:write")


async def test_scopes_may_be_a_list_or_stand_in_another_claim_and_payloads_are_nobodys_to_give(
    issuer: Issuer, tokens: AccessTokens, server: RatesServer
) -> None:
    assert (await tokens.authenticate(issuer.token(scope=None, scp=["read", "payloads", 5, "admin"]))).scopes == ("read", "admin")
    assert (await tokens.authenticate(issuer.token(scope=None))).scopes == ()
    assert (await tokens.authenticate(issuer.token(scope={"all": True}))).scopes == ()
    own = _tokens(server, scope_claim="roles", tenant_claim="https://bank.example/tenant", principal_claim="client_id")
    own_claims: dict[str, Any] = {"roles": "holds:write", "https://bank.example/tenant": "bank-2"}
    token = issuer.token(scope="all", tenant=None, **own_claims)
    principal = await own.authenticate(token)
    assert (principal.tenant, principal.name, principal.scopes) == ("bank-2", "branch", ("holds:write",))


@pytest.mark.parametrize("algorithm", ["RS256", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
async def test_asymmetric_algorithms_are_taken(server: RatesServer, algorithm: str) -> None:
    issuer = Issuer(algorithm)
    server.answer = answers(issuer.jwks)
    assert (await _tokens(server).authenticate(issuer.token())).name == "jana"


NOW = int(time.time())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": NOW - 31}, "expired"),
        ({"exp": None}, "lacks the claim exp"),
        ({"nbf": NOW + 3_600}, "not valid yet"),
        ({"iat": NOW + 3_600}, "not valid yet"),
        ({"iat": None}, "lacks the claim iat"),
        ({"aud": "another"}, "another audience"),
        ({"aud": ["a", "b"]}, "another audience"),
        ({"aud": None}, "lacks the claim aud"),
        ({"iss": "https://evil.example"}, "no issuer"),
        ({"iss": None}, "no issuer"),
        ({"tenant": None}, "lacks the claim tenant"),
        ({"tenant": ""}, "may not speak"),
        ({"tenant": "a/b"}, "may not speak"),
        ({"tenant": ["bank-1"]}, "may not speak"),
        ({"sub": None}, "lacks the claim sub"),
        ({"sub": ""}, "no name"),
        ({"sub": " "}, "no name"),
        ({"sub": "x" * 141}, "no name"),
        ({"sub": "a\nb"}, "no name"),
    ],
)
async def test_a_token_that_lacks_something_opens_nothing(issuer: Issuer, tokens: AccessTokens, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidTokenError, match=why):
        await tokens.authenticate(issuer.token(**changes))


async def test_clocks_may_be_a_little_apart(issuer: Issuer, tokens: AccessTokens) -> None:
    now = int(time.time())
    await tokens.authenticate(issuer.token(exp=now - 5, iat=now - 300))
    await tokens.authenticate(issuer.token(nbf=now + 5, iat=now + 5))


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"typ": "JWT"}, "its type"),
        ({"typ": None}, "its type"),
        ({"kid": "no-such"}, "no such key"),
        ({"kid": "../../etc/passwd"}, "no such key"),
        ({"kid": None}, "its key"),
        ({"crit": ["exp"]}, r"rule|neither"),
    ],
)
async def test_a_header_that_breaks_a_rule_opens_nothing(issuer: Issuer, tokens: AccessTokens, headers: dict[str, Any], why: str) -> None:
    token = _signed_anyhow(issuer, headers)
    with pytest.raises(InvalidTokenError, match=why):
        await tokens.authenticate(token)


async def test_the_type_may_be_written_as_a_media_type_and_others_may_be_allowed(issuer: Issuer, server: RatesServer) -> None:
    await _tokens(server).authenticate(issuer.token(headers={"typ": "application/AT+JWT"}))
    await _tokens(server, token_types=("at+jwt", "JWT")).authenticate(issuer.token(headers={"typ": "JWT"}))


async def test_unsigned_and_symmetrically_signed_tokens_open_nothing(server: RatesServer, tokens: AccessTokens) -> None:
    """RFC 8725, section 2.1: `none`, and an HMAC with the public key as its secret, which everybody knows."""
    issuer = Issuer("RS256")
    server.answer = answers(issuer.jwks)
    public = issuer.private_key.public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        issuer.jwks,
    ]
    for algorithm in ("none", "None", "NONE", "HS256", "hs256"):
        for secret in secrets:
            signing = f"{_part({'alg': algorithm, 'typ': 'at+jwt', 'kid': issuer.kid})}.{_part(issuer.claims())}"
            signature = hmac.new(secret, signing.encode(), hashlib.sha256).digest() if "s" in algorithm.lower() else b""
            with pytest.raises(InvalidTokenError, match="signed by one of"):
                await tokens.authenticate(f"{signing}.{_encoded(signature)}")


async def test_a_shared_secret_in_the_key_set_is_no_key(server: RatesServer) -> None:
    secret = _encoded(b"0" * 32)
    server.answer = answers(json.dumps({"keys": [{"kty": "oct", "kid": "k", "k": secret, "alg": "HS256"}]}))
    token = jwt.encode(Issuer().claims(), b"0" * 32, algorithm="HS256", headers={"typ": "at+jwt", "kid": "k"})
    with pytest.raises(InvalidTokenError):
        await _tokens(server).authenticate(token)


async def test_a_changed_or_foreign_signature_opens_nothing(issuer: Issuer, tokens: AccessTokens) -> None:
    header, payload, signature = issuer.token().split(".")
    forged = _part(issuer.claims(tenant="bank-2", scope="all"))
    stranger = Issuer()
    for token in (
        f"{header}.{forged}.{signature}",
        f"{header}.{payload}.{signature[:-8]}AAAAAAAA",
        stranger.token(headers={"kid": issuer.kid}),
    ):
        with pytest.raises(InvalidTokenError, match=r"signature|rule"):
            await tokens.authenticate(token)


async def test_a_key_is_only_for_its_own_algorithm(server: RatesServer, tokens: AccessTokens) -> None:
    issuer = Issuer("RS256")
    server.answer = answers(issuer.jwks)
    key = issuer.private_key
    token = jwt.encode(issuer.claims(), key, algorithm="PS256", headers={"typ": "at+jwt", "kid": issuer.kid})
    with pytest.raises(InvalidTokenError, match="no such key"):
        await tokens.authenticate(token)


async def test_a_short_rsa_key_is_no_key(server: RatesServer) -> None:
    issuer = Issuer()
    issuer.rotate("RS256", bits=1024)
    server.answer = answers(issuer.jwks)
    with pytest.warns(UserWarning, match="1024 bits"):
        token = issuer.token()
    with pytest.raises(InvalidTokenError, match="no such key"):
        await _tokens(server).authenticate(token)


@pytest.mark.parametrize("token", ["a", "a.b.c", "..", "e30.e30.", "x" * 9_000, "é.é.é", "eyJhbGciOiJSUzI1NiJ9." + "A" * 1_000 + ".A"])
async def test_what_is_no_token_opens_nothing_and_asks_nobody(server: RatesServer, tokens: AccessTokens, token: str) -> None:
    with pytest.raises(InvalidTokenError) as refused:
        await tokens.authenticate(token)
    assert token not in str(refused.value) or len(token) < 5
    assert server.requests == 0


async def test_an_issuer_speaks_for_its_own_tenants_only(issuer: Issuer, server: RatesServer) -> None:
    tokens = _tokens(server, tenants=("bank-1",))
    await tokens.authenticate(issuer.token())
    with pytest.raises(InvalidTokenError, match="may not speak"):
        await tokens.authenticate(issuer.token(tenant="bank-2"))


async def test_each_of_several_issuers_is_checked_by_its_own_keys(issuer: Issuer, server: RatesServer) -> None:
    other = Issuer()
    async with RatesServer() as second:
        second.answer = answers(other.jwks)
        name = "https://id.other.example"
        tokens = AccessTokens([Issuer.settings(server.url), Issuer.settings(second.url, issuer=name)])
        await tokens.authenticate(issuer.token())
        await tokens.authenticate(other.token(iss=name))
        for token in (other.token(headers={"kid": issuer.kid}), issuer.token(iss=name, headers={"kid": other.kid})):
            with pytest.raises(InvalidTokenError):
                await tokens.authenticate(token)


async def test_the_keys_are_asked_for_once_and_again_when_the_issuer_has_a_new_one(issuer: Issuer, server: RatesServer) -> None:
    tokens = _tokens(server, asked_every_seconds=0)
    await asyncio.gather(*(tokens.authenticate(issuer.token()) for _ in range(10)))
    old = issuer.token()
    assert server.requests == 1
    issuer.rotate("EdDSA")
    server.answer = answers(issuer.jwks)
    await tokens.authenticate(issuer.token())
    await tokens.authenticate(old)
    assert server.requests == 2


async def test_guessed_key_ids_are_no_load_on_the_issuer(issuer: Issuer, server: RatesServer, tokens: AccessTokens) -> None:
    await tokens.authenticate(issuer.token())
    for number in range(20):
        with pytest.raises(InvalidTokenError, match="no such key"):
            await tokens.authenticate(issuer.token(headers={"kid": f"guess-{number}"}))
    assert server.requests == 1
    await tokens.authenticate(issuer.token())


async def test_while_the_issuer_is_away_known_keys_stay_good_and_unknown_ones_are_unavailable(issuer: Issuer, server: RatesServer) -> None:
    tokens = _tokens(server, asked_every_seconds=0, kept_seconds=0)
    known = issuer.token()
    await tokens.authenticate(known)
    for answer in (answers("", status="503 Away"), answers("<html>"), answers("{}"), answers("x" * 300_000)):
        server.answer = answer
        for _ in range(3):
            await tokens.authenticate(known)
        with pytest.raises(UnavailableError):
            await tokens.authenticate(issuer.token(headers={"kid": "new"}))
    await tokens.stop()


async def test_a_withdrawn_key_ends_once_the_keys_are_read_again(issuer: Issuer, server: RatesServer) -> None:
    tokens = _tokens(server, asked_every_seconds=0, kept_seconds=0)
    leaked, old = issuer.token(), issuer.kid
    await tokens.authenticate(leaked)
    issuer.rotate()
    issuer.withdraw(old)
    server.answer = answers(issuer.jwks)
    async with asyncio.timeout(30):
        while True:
            try:
                await tokens.authenticate(leaked)
            except InvalidTokenError as error:
                assert "no such key" in str(error)  # noqa: PT017  it is waited for
                break
            await asyncio.sleep(0)
    await tokens.stop()


async def test_a_redirect_is_not_followed(issuer: Issuer, server: RatesServer) -> None:
    async with RatesServer() as elsewhere:
        elsewhere.answer = answers(issuer.jwks)
        server.answer = answers("", status=f"302 Found\r\nLocation: {elsewhere.url}")
        with pytest.raises(UnavailableError):
            await _tokens(server).authenticate(issuer.token())
        assert elsewhere.requests == 0


async def test_keys_may_stand_in_a_file(tmp_path: Path) -> None:
    issuer, path = Issuer("EdDSA"), tmp_path / "jwks.json"
    path.write_bytes(issuer.jwks)
    await AccessTokens([Issuer.settings(str(path))]).authenticate(issuer.token())


@pytest.mark.parametrize(
    "jwks",
    [
        "http://id.bank.example/jwks",
        "http://192.0.2.1/jwks",
        "ftp://x/y",
        "keys.json",
        "https://",
        "https://u:p@id.bank.example/k",
        "http://127.0.0.1.evil.example/k",
    ],
)
def test_keys_come_by_tls_but_on_loopback(jwks: str) -> None:
    with pytest.raises(ValidationError, match="must be an https URL"):
        Issuer.settings(jwks)
    for fine in ("https://id.bank.example/jwks", "http://127.0.0.1:8/jwks", "http://[::1]/jwks", "http://localhost/jwks"):
        Issuer.settings(fine)


def test_symmetric_algorithms_can_not_be_set() -> None:
    for algorithms in (("HS256",), ("none",), ("RS256", "HS512"), ()):
        with pytest.raises(ValidationError):
            Issuer.settings("https://id.bank.example/jwks", algorithms=algorithms)


def test_issuers_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASAFLOW_OAUTH_ISSUERS", '[{"issuer": "https://i", "audience": "casaflow", "jwks": "https://i/jwks"}]')
    (found,) = Settings().oauth_issuers
    assert (found.issuer, found.token_types, found.tenant_claim) == ("https://i", ("at+jwt",), "tenant")


def _signed_anyhow(issuer: Issuer, headers: dict[str, Any]) -> str:
    """A token with a right signature over whatever header."""
    whole = {"alg": "ES256", "typ": "at+jwt", "kid": issuer.kid, **headers}
    signing = f"{_part({name: value for name, value in whole.items() if value is not None})}.{_part(issuer.claims())}"
    algorithm = jwt.get_algorithm_by_name("ES256")
    return f"{signing}.{_encoded(algorithm.sign(signing.encode(), issuer.private_key))}"


def _part(content: dict[str, Any]) -> str:
    return _encoded(json.dumps(content).encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
