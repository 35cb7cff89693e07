"""The codes of problems: what each one means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

_SAME_AGAIN: Final = "Send the same request again, after the seconds of `Retry-After`. Nothing is lost, and nothing is done twice."
_OTHER_ID: Final = "If it is the same thing, send the same content. If it is another one, give it an id of its own."
_LOOK: Final = "Look it up to see how it stands now."


@dataclass(frozen=True)
class ProblemPage:
    """One code."""

    status: HTTPStatus
    title: str
    meaning: str
    what_to_do: str
    example: str
    """A `detail` as it may come."""


PROBLEM_PAGES: Final = {
    "invalid-input": ProblemPage(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "A field breaks a rule",
        "A field of the body, the path, the query or a header is missing, unknown or not well-formed. Nothing was done.",
        "Mend what `errors` names: each entry has the field, the value that came, and the rule.",
        'amount must be a decimal string, such as "12.50"',
    ),
    "unknown-currency": ProblemPage(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "There is no such currency",
        "The code is none of ISO 4217 with a minor unit. Nothing was done.",
        "Send a code such as EUR, in capital letters.",
        "currency must be an ISO 4217 currency code with a minor unit, such as EUR",
    ),
    "unknown-account": ProblemPage(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "There is no such account",
        "A body names an account that the tenant doesn't have, or one of the bank's own. Nothing was done.",
        "Open the account first, or mend its id.",
        "creditor must be an account of this tenant that was opened before",
    ),
    "idempotency-key-conflict": ProblemPage(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The idempotency key belongs to another request",
        "The same principal used the `Idempotency-Key` before with another body or for another operation. Nothing was done.",
        "Use a key of its own for each request, and the same one only to send the very same request again.",
        "the idempotency key order-17 was used before with another body",
    ),
    "conflict": ProblemPage(
        HTTPStatus.CONFLICT, "It contradicts what is recorded", "What is recorded stands against the request. Nothing was done.", _LOOK, "…"
    ),
    "transaction-conflict": ProblemPage(
        HTTPStatus.CONFLICT,
        "The transaction id belongs to another transaction",
        "The `transaction_id` was used before with other accounts or another amount. The first content stands.",
        _OTHER_ID,
        "transaction_id 5f0e… was used before with other content; the first content stands",
    ),
    "transaction-not-final": ProblemPage(
        HTTPStatus.CONFLICT,
        "The transaction is still under way",
        "What may be taken back of a transaction is known only once it has ended.",
        "Look it up, and reverse it once it is completed.",
        "transaction 5f0e… is processing; it can be reversed once it is completed",
    ),
    "transaction-not-parked": ProblemPage(
        HTTPStatus.CONFLICT,
        "The transaction is not parked",
        "It doesn't wait for an operator, or carries out another command already.",
        _LOOK,
        "transaction 5f0e… is not parked, or carries out another command already",
    ),
    "action-not-possible": ProblemPage(
        HTTPStatus.CONFLICT,
        "This action can't mend it",
        "The transaction is parked where this action has no effect.",
        "Read the detail, and choose another action: retry, settle or reverse.",
        "settle is not possible for transaction 5f0e…: its debit has not been posted",
    ),
    "account-conflict": ProblemPage(
        HTTPStatus.CONFLICT,
        "The account id belongs to another account",
        "The account exists with another currency or kind, or was opened with other rules.",
        _OTHER_ID,
        "account A1 exists already with another currency or kind, or was opened with other rules",
    ),
    "hold-conflict": ProblemPage(
        HTTPStatus.CONFLICT,
        "The hold id belongs to another hold",
        "The `hold_id` was used before with other content. The first content stands.",
        _OTHER_ID,
        "hold_id 5f0e… was used before with other content; the first content stands",
    ),
    "impossible-change": ProblemPage(
        HTTPStatus.CONFLICT, "The change is not possible now", "What is recorded stands against the change.", _LOOK, "…"
    ),
    "account-not-closable": ProblemPage(
        HTTPStatus.CONFLICT,
        "The account can't be closed",
        "It has money, a hold or an open transaction.",
        "Bring its balance to zero, and wait for or void what is open. `errors` says what is left.",
        "account A1 can't be closed: its balance is 12.50 EUR",
    ),
    "account-closed": ProblemPage(
        HTTPStatus.CONFLICT,
        "The account is closed",
        "A closed account never changes again.",
        "Use another account.",
        "account A1 is closed",
    ),
    "account-frozen": ProblemPage(
        HTTPStatus.CONFLICT,
        "The account is frozen",
        "While an account is frozen, only the freeze itself can change.",
        "Unfreeze it first.",
        "account A1 is frozen",
    ),
    "overdraft-in-use": ProblemPage(
        HTTPStatus.CONFLICT,
        "The overdraft is in use",
        "Debits and holds use more of the overdraft than the new limit allows.",
        "Choose a higher limit, or wait until less of it is used.",
        "overdraft_limit must be at least 120.00: so much of it is in use",
    ),
    "hold-not-voidable": ProblemPage(
        HTTPStatus.CONFLICT,
        "The hold can't be voided",
        "It was captured or refused, or has expired: it holds nothing.",
        _LOOK,
        "the hold is captured",
    ),
    "standing-order-conflict": ProblemPage(
        HTTPStatus.CONFLICT,
        "The order id belongs to another standing order",
        "The `order_id` was used before with other content. The first content stands.",
        _OTHER_ID,
        "order_id 5f0e… was used before with other content; the first content stands",
    ),
    "standing-order-ended": ProblemPage(
        HTTPStatus.CONFLICT,
        "The standing order has ended",
        "It was cancelled, or its last due date has passed. An order that has ended never changes.",
        "Enter a new one.",
        "the standing order is cancelled",
    ),
    "key-not-valid": ProblemPage(
        HTTPStatus.CONFLICT,
        "The key is valid no more",
        "A key that is revoked or has expired has no successor. Nothing was done.",
        "Make a new key.",
        "key 7bc2059daac85020 is revoked, and can't be rotated; create a new one",
    ),
    "message-not-dead": ProblemPage(
        HTTPStatus.CONFLICT,
        "The message is not dead",
        "It was delivered, or waits for its next attempt already.",
        _LOOK,
        "message 5f0e… is waiting",
    ),
    "not-waiting": ProblemPage(
        HTTPStatus.CONFLICT,
        "The transaction waits for no approval",
        "It never did, or somebody has decided already.",
        _LOOK,
        "transaction 5f0e… doesn't wait for an approval",
    ),
    "approval-expired": ProblemPage(
        HTTPStatus.CONFLICT,
        "The approval has expired",
        "The time to approve or decline the transaction is over: it is rejected.",
        "Submit it again, under an id of its own.",
        "the approval of transaction 5f0e… expired at 2026-01-31T12:00:00Z",
    ),
    "not-cancellable": ProblemPage(
        HTTPStatus.CONFLICT,
        "It is too late to cancel",
        "Posting has begun, or the transaction has ended.",
        "Reverse the transaction once it is completed.",
        "transaction 5f0e… can't be cancelled any more",
    ),
    "not-found": ProblemPage(
        HTTPStatus.NOT_FOUND,
        "There is no such thing",
        "The tenant has nothing with this id, or the API no such path. Another tenant's is as good as none.",
        "Mend the id or the path; `/openapi.json` has all paths.",
        "there is no transaction 5f0e…",
    ),
    "method-not-allowed": ProblemPage(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "The path has no such method",
        "The path exists, with other methods.",
        "Use one of those that `Allow` names.",
        "Method Not Allowed",
    ),
    "duplicate-file": ProblemPage(
        HTTPStatus.CONFLICT,
        "The file came before",
        "A payment file with the same content was handed in, and wasn't rejected. `errors` names it. Nothing was done.",
        "Look at what became of that file. A file that was rejected may come again.",
        "file 5f0e… has the same content; look at what became of it",
    ),
    "file-ended": ProblemPage(
        HTTPStatus.CONFLICT,
        "The file is over",
        "A payment file that is completed, rejected or cancelled takes no change.",
        _LOOK,
        "file 5f0e… is completed: too late to pause it",
    ),
    "file-too-large": ProblemPage(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The payment file is too large",
        "It has more bytes than the bank's setting allows. Nothing was done.",
        "Split it, and hand in the parts as files of their own.",
        "a payment file has 268435456 bytes at most; split it",
    ),
    "not-acceptable": ProblemPage(
        HTTPStatus.NOT_ACCEPTABLE,
        "The answer has none of these forms",
        "`Accept` leaves out every form that the endpoint answers in. Nothing was done.",
        "Accept `application/json`, or leave the header out.",
        "this endpoint answers with application/json",
    ),
    "unsupported-media-type": ProblemPage(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "The body has another form",
        "`Content-Type` is missing, or says something else than the endpoint reads. Nothing was done.",
        "Send JSON as `Content-Type: application/json`.",
        "a body must come as application/json",
    ),
    "request-too-large": ProblemPage(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body is too large",
        "The body is larger than the endpoint takes. Nothing was done.",
        "Send less at a time. Batches may be split; many transactions may come as a file.",
        "the body is larger than 524288 bytes",
    ),
    "uri-too-long": ProblemPage(
        HTTPStatus.REQUEST_URI_TOO_LONG,
        "The URL is too long",
        "Path and query together are longer than the API reads.",
        "Leave out what isn't needed.",
        "the URL is longer than 8192 bytes",
    ),
    "headers-too-large": ProblemPage(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "The headers are too large",
        "All headers together are larger than the API reads.",
        "Leave out what isn't needed, cookies above all: the API reads none.",
        "the headers are larger than 32768 bytes",
    ),
    "too-many-requests": ProblemPage(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many at a time",
        "The key has asked more often than its rate allows, or has as many streams open as it may have. Nothing was done.",
        "Wait for the seconds of `Retry-After`, and send the same request again. `RateLimit` tells how much is left.",
        "the key may ask 100 times a second",
    ),
    "unauthenticated": ProblemPage(
        HTTPStatus.UNAUTHORIZED,
        "A valid key is needed",
        "The API key is missing, malformed, unknown, expired or revoked.",
        "Send `Authorization: Bearer` with a valid key.",
        "an API key is needed as Authorization: Bearer",
    ),
    "forbidden": ProblemPage(
        HTTPStatus.FORBIDDEN,
        "The key may not do this",
        "The key is valid, and not for this.",
        "Use a key that is meant for it.",
        "the key 7bc2059daac85020 is for the codec server, and opens nothing here",
    ),
    "missing-scope": ProblemPage(
        HTTPStatus.FORBIDDEN,
        "The key lacks a scope",
        "What was asked takes a scope that the key doesn't have. Nothing was done.",
        "Have an administrator make a key with the scope that the detail names.",
        "the key lacks the scope transactions:approve",
    ),
    "same-principal": ProblemPage(
        HTTPStatus.FORBIDDEN,
        "Somebody else has to decide",
        "Who submitted a transaction can't approve or decline it.",
        "Have a second person decide, with a key of that person's own.",
        "teller submitted the transaction, and can't decide on it",
    ),
    "unauthenticated-command": ProblemPage(
        HTTPStatus.FORBIDDEN,
        "The workers don't obey this API",
        "API and workers share no secret, so that commands of this API are not carried out.",
        "An administrator gives both the same CASAFLOW_COMMAND_SECRETS.",
        "the command was not obeyed; CASAFLOW_COMMAND_SECRETS of API and workers differ",
    ),
    "internal-error": ProblemPage(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "A defect of casaflow",
        "The request met a defect. Whether anything was done is shown by looking it up, or by sending the same request again.",
        "Report it with the `Request-Id` of the answer; the log has the details under it.",
        "casaflow failed; the log of the API has the details",
    ),
    "unavailable": ProblemPage(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "A server is away",
        "PostgreSQL, Temporal or Kafka did not answer in time. Whether anything was done is not known yet.",
        _SAME_AGAIN,
        "postgres: connection refused. Send the same request again: nothing is lost, and nothing is done twice.",
    ),
    "draining": ProblemPage(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "No new work is taken",
        "An operator has closed the intake, before a deployment for example. Nothing was done. What was submitted before goes on, and is "
        "answered when it is asked for again; reading goes on.",
        _SAME_AGAIN,
        "intake is not available: no new work is taken since 2026-03-02T09:30:00+00:00: release 1.2",
    ),
    "busy": ProblemPage(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Too much is under way",
        "There was no room for the request, or it had to give way to another one. Nothing was done.",
        _SAME_AGAIN,
        "postgres: deadlock detected. Send the same request again: nothing is lost, and nothing is done twice.",
    ),
    "timed-out": ProblemPage(
        HTTPStatus.GATEWAY_TIMEOUT,
        "The answer took too long",
        "The API gave up waiting for its own answer. Whether anything was done is not known yet.",
        _SAME_AGAIN,
        "there was no answer within 90 s",
    ),
}
"""Every code that an answer may have."""


def problem_type(code: str) -> str:
    """The ``type`` of a problem: a reference to its page on the same API."""
    return f"/problems/{code}"


def example_of(code: str) -> dict[str, object]:
    """A problem as it may come."""
    page = PROBLEM_PAGES[code]
    return {"type": problem_type(code), "title": page.title, "status": page.status.value, "code": code, "detail": page.example}
