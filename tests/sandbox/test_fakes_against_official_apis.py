"""Requests and answers of the official APIs that other programs use, and Kvit does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from bot.sandbox.fake_services import FakeServices, start_services
from bot.sandbox.fake_stripe import FakeStripe

Json = dict[str, Any]
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10\x00\x00\x00\x10\x08\x06\r\n\r\n--\r\n\x00"
PAYMENT = {
    "amount": "12500",
    "currency": "DKK",
    "confirm": "true",
    "payment_method_data[type]": "mobilepay",
    "return_url": "https://example.com/back",
}


@pytest.fixture
async def services() -> AsyncIterator[FakeServices]:
    async with start_services(flood_control=False) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def call(http: aiohttp.ClientSession, stripe: FakeStripe, method: str, path: str, **params: str) -> Json:
    """The answer of the API, which has to be 200."""
    status, body = await attempt(http, stripe, method, path, **params)
    assert status == 200, body
    return body


async def attempt(
    http: aiohttp.ClientSession, stripe: FakeStripe, method: str, path: str, **params: str
) -> tuple[int, Json]:
    """Status and JSON of any answer."""
    query, form = (params, None) if method == "GET" else (None, params)
    headers = {"Authorization": f"Bearer {stripe.key}"}
    async with http.request(method, f"{stripe.base}{path}", headers=headers, params=query, data=form) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def control(http: aiohttp.ClientSession, stripe: FakeStripe, path: str, **body: Any) -> None:
    async with http.post(f"{stripe.base}/_control/{path}", json=body) as response:
        assert response.status == 200, await response.text()


async def paid(http: aiohttp.ClientSession, services: FakeServices, **params: str) -> Json:
    """A paid intent, whose balance transaction is there."""
    intent = await call(http, services.stripe, "POST", "/v1/payment_intents", **PAYMENT | params)
    await control(http, services.stripe, f"intents/{intent['id']}/approve")
    await control(http, services.stripe, "clock", advance=3600)
    return intent


async def test_balance_transactions_can_be_expanded_retrieved_and_listed(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    stripe = services.stripe
    intent = await paid(http, services)
    expand = {"expand[]": "latest_charge.balance_transaction"}
    charge = (await call(http, stripe, "GET", f"/v1/payment_intents/{intent['id']}", **expand))["latest_charge"]
    transaction = charge["balance_transaction"]
    assert (transaction["amount"], transaction["net"], transaction["fee"]) == (12500, 12500, 0)
    assert (transaction["type"], transaction["source"], transaction["currency"]) == ("charge", charge["id"], "dkk")
    assert await call(http, stripe, "GET", f"/v1/balance_transactions/{transaction['id']}") == transaction
    refund = await call(http, stripe, "POST", "/v1/refunds", payment_intent=intent["id"], amount="500")
    assert "failure_balance_transaction" not in refund
    await control(http, stripe, f"refunds/{refund['id']}/fail", failure_reason="expired_or_canceled_card")
    failed = await call(
        http, stripe, "GET", f"/v1/refunds/{refund['id']}", **{"expand[]": "failure_balance_transaction"}
    )
    assert failed["failure_balance_transaction"]["amount"] == 500
    listed = await call(http, stripe, "GET", "/v1/balance_transactions")
    assert [item["net"] for item in listed["data"]] == [500, -500, 12500]


async def test_properties_that_are_null_or_lists_can_be_expanded(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    intent = await paid(http, services)
    refund = await call(http, services.stripe, "POST", "/v1/refunds", payment_intent=intent["id"], amount="500")
    path = f"/v1/payment_intents/{intent['id']}"
    assert (await call(http, services.stripe, "GET", path, **{"expand[]": "customer"}))["customer"] is None
    found = await call(http, services.stripe, "GET", path, **{"expand[]": "latest_charge.refunds"})
    assert [item["id"] for item in found["latest_charge"]["refunds"]["data"]] == [refund["id"]]
    refunds = {"expand[]": "failure_balance_transaction"}
    assert (await call(http, services.stripe, "GET", f"/v1/refunds/{refund['id']}", **refunds))["id"] == refund["id"]
    status, error = await attempt(http, services.stripe, "GET", path, **{"expand[]": "amount"})
    assert (status, "cannot be expanded" in error["error"]["message"]) == (400, True)


async def test_payments_are_searched_and_search_is_no_id(services: FakeServices, http: aiohttp.ClientSession) -> None:
    tea = await paid(http, services, **{"metadata[shop]": "7", "amount": "300"})
    coffee = await call(http, services.stripe, "POST", "/v1/payment_intents", **PAYMENT | {"metadata[shop]": "7"})

    async def found(query: str, kind: str = "payment_intents") -> list[str]:
        result = await call(http, services.stripe, "GET", f"/v1/{kind}/search", query=query)
        assert result["object"] == "search_result"
        assert (result["url"], result["has_more"]) == (f"/v1/{kind}/search", False)
        return [item["id"] for item in result["data"]]

    assert await found("metadata['shop']:'7'") == [coffee["id"], tea["id"]]
    assert await found('metadata["shop"]:"7" AND status:\'succeeded\'') == [tea["id"]]
    assert await found("amount>300 OR status:'succeeded'") == [coffee["id"], tea["id"]]
    assert await found("-status:'succeeded' AND currency:'dkk'") == [coffee["id"]]
    assert await found("metadata['shop']:'8'") == []
    assert len(await found("amount:300", "charges")) == 1
    page = await call(http, services.stripe, "GET", "/v1/payment_intents/search", query="amount>0", limit="1")
    assert (page["has_more"], len(page["data"])) == (True, 1)
    for query in ("colour:'red'", "amount >", "metadata:'7'"):
        status, error = await attempt(http, services.stripe, "GET", "/v1/payment_intents/search", query=query)
        assert (status, error["error"]["param"]) == (400, "query")


async def test_payment_method_is_made_first_and_used_by_its_id(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    method = await call(http, services.stripe, "POST", "/v1/payment_methods", type="mobilepay")
    assert await call(http, services.stripe, "GET", f"/v1/payment_methods/{method['id']}") == method
    listed = await call(http, services.stripe, "GET", "/v1/payment_methods", type="mobilepay")
    assert listed["data"] == [method]
    given = {name: value for name, value in PAYMENT.items() if "method" not in name}
    intent = await call(http, services.stripe, "POST", "/v1/payment_intents", payment_method=method["id"], **given)
    assert (intent["status"], intent["payment_method"]) == ("requires_action", method["id"])
    status, error = await attempt(
        http, services.stripe, "POST", "/v1/payment_intents", payment_method="pm_none", **given
    )
    assert (status, error["error"]["code"]) == (400, "resource_missing")


@pytest.mark.parametrize(
    "params",
    [
        {"payment_method_data[mobilepay]": ""},
        {"use_stripe_sdk": "false", "off_session": "false"},
        {"shipping[name]": "Ann", "shipping[address][city]": "Odense"},
        {"radar_options[session]": "rse_1"},
        {"payment_method_options[card][request_three_d_secure]": "any"},
    ],
)
async def test_parameter_that_stripe_takes_is_taken(
    services: FakeServices, http: aiohttp.ClientSession, params: dict[str, str]
) -> None:
    intent = await call(http, services.stripe, "POST", "/v1/payment_intents", **PAYMENT | params)
    assert intent["status"] == "requires_action"


@pytest.mark.parametrize("path", ["/v2/core/events", "/v1/nothing", "/nothing", "/", "/v1"])
async def test_unknown_path_gets_json_from_both(services: FakeServices, http: aiohttp.ClientSession, path: str) -> None:
    status, body = await attempt(http, services.stripe, "GET", path)
    assert (status, body["error"]["type"]) == (404, "invalid_request_error")
    async with http.get(f"{services.telegram.base}{path}") as response:
        assert (response.status, (await response.json())["ok"]) == (404, False)


async def test_account_has_no_null_where_the_schema_has_none(
    services: FakeServices, http: aiohttp.ClientSession
) -> None:
    profile = (await call(http, services.stripe, "GET", "/v1/account"))["business_profile"]
    assert "monthly_estimated_revenue" not in profile
    assert profile["minority_owned_business_designation"] is None


def multipart(*parts: tuple[str, bytes]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a request with these parts: the rest of the disposition, and the content."""
    body = b"".join(
        b"--mark\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return {"Content-Type": "multipart/form-data; boundary=mark"}, body + b"--mark--\r\n"


async def bot_api(http: aiohttp.ClientSession, services: FakeServices, method: str, **request: Any) -> Json:
    telegram = services.telegram
    async with http.post(f"{telegram.base}/bot{telegram.token}/{method}", **request) as response:
        answer: Json = await response.json()
        return answer


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("filename=my nice picture.png", "my nice picture.png"),
        ('filename="my nice; picture.png"', "my nice; picture.png"),
        ('filename="blåbær.png"', "blåbær.png"),
        ("filename=plain.png", "plain.png"),
    ],
)
async def test_file_name_may_have_spaces_and_no_quotes(
    services: FakeServices, http: aiohttp.ClientSession, written: str, read: str
) -> None:
    chat = str(services.telegram.chat_id).encode()
    headers, body = multipart(("name=chat_id", chat), (f'name="document"; {written}', PNG))
    answer = await bot_api(http, services, "sendDocument", data=body, headers=headers)
    assert answer["ok"], answer
    document = answer["result"]["document"]
    assert (document["file_name"], document["file_size"]) == (read, len(PNG))
    assert services.telegram.state.files[document["file_id"]].content == PNG


async def test_multipart_body_that_is_cut_short_is_refused(services: FakeServices, http: aiohttp.ClientSession) -> None:
    headers, body = multipart(("name=chat_id", b"1"))
    answer = await bot_api(http, services, "sendMessage", data=body[:-6], headers=headers)
    assert (answer["ok"], answer["error_code"]) == (False, 400)


async def test_album_is_sent_and_a_message_pinned(services: FakeServices, http: aiohttp.ClientSession) -> None:
    chat = services.telegram.chat_id
    media = [{"type": "document", "media": f"attach://{name}", "caption": name} for name in ("one", "two")]
    headers, body = multipart(
        ("name=chat_id", str(chat).encode()),
        ("name=media", json.dumps(media).encode()),
        ("name=one; filename=1.csv", b"a;b"),
        ("name=two; filename=2.csv", b"c;d"),
    )
    sent = (await bot_api(http, services, "sendMediaGroup", data=body, headers=headers))["result"]
    assert [message["document"]["file_name"] for message in sent] == ["1.csv", "2.csv"]
    assert len({message["media_group_id"] for message in sent}) == 1
    assert len({message["message_id"] for message in sent}) == 2
    pinned = {"chat_id": chat, "message_id": sent[0]["message_id"]}
    assert await bot_api(http, services, "pinChatMessage", json=pinned) == {"ok": True, "result": True}
    missing = await bot_api(http, services, "pinChatMessage", json=pinned | {"message_id": 9999})
    assert missing["description"] == "Bad Request: message to pin not found"
    alone = await bot_api(http, services, "sendMediaGroup", json={"chat_id": chat, "media": media[:1]})
    assert (alone["ok"], alone["error_code"]) == (False, 400)
