"""The demo's page as a person has it in the browser: two phones, and what can befall those who hold them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from bot.sandbox import seed_users
from bot.sandbox.demo.server import start_demo
from bot.sandbox.demo.stack import DemoStack
from handlers.chat.routes import COMMANDS
from tests.support.browser import PATIENCE, page_at
from tests.support.demo_phones import PAY, WIDE, asked, call, card_on, last, offered, phone

pytestmark = pytest.mark.asyncio(loop_scope="session")
"""One browser for all of them; each has a demo and a page of its own."""


@pytest_asyncio.fixture(loop_scope="session")
async def demo() -> AsyncIterator[tuple[str, DemoStack]]:
    async with start_demo(0, unthrottled=True) as running:
        yield running


@pytest.fixture
def market(demo: tuple[str, DemoStack]) -> DemoStack:
    return demo[1]


@pytest_asyncio.fixture(loop_scope="session")
async def page(demo: tuple[str, DemoStack], browser: Browser) -> AsyncIterator[Page]:
    settings = {"viewport": WIDE, "permissions": ["clipboard-read", "clipboard-write"]}
    async with page_at(browser, demo[0], **settings) as shown:
        yield shown


async def test_a_sale_is_made_on_the_two_phones(page: Page) -> None:
    await page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    card = await card_on(page)
    await card.get_by_role("link", name=PAY).click()
    await expect(page.locator("#toast")).to_have_text("Opened on Clara’s phone")
    await expect(phone(page).get_by_text("Ends in")).to_contain_text(re.compile("[45]:[0-5][0-9]"))
    await phone(page).get_by_role("button", name="Authorize").click()
    await expect(phone(page).get_by_text("Reference")).to_be_visible()
    await expect(card).to_contain_text("Paid")
    await expect(card).to_contain_text("edited")
    await expect(card.get_by_role("link")).to_have_count(0)
    await expect(page.locator(".message").last.locator(".cite")).to_contain_text("Kvit")


async def test_a_declined_link_is_followed_by_another_try_on_the_page(page: Page) -> None:
    card = await asked(page)
    await page.get_by_role("button", name="Decline 125.00 DKK Coffee").click()
    await expect(card).to_contain_text("Payment attempt failed")
    await card.get_by_role("link", name=PAY).click()
    await phone(page).get_by_role("button", name=PAY).click()
    await phone(page).get_by_role("button", name="Authorize").click()
    await expect(card).to_contain_text("Paid")


async def test_five_minutes_later_the_link_is_dead_on_both_phones(page: Page) -> None:
    card = await asked(page)
    await card.get_by_role("link", name=PAY).click()
    await expect(phone(page).get_by_role("button", name="Authorize")).to_be_visible()
    before = await page.locator(".clock").first.text_content()
    await page.get_by_role("button", name="Skip 5 min").click()
    await expect(card).to_contain_text("expired")
    await expect(phone(page).get_by_text("This link has expired")).to_be_visible()
    await expect(page.locator(".clock").first).not_to_have_text(before or "")
    await expect(page.locator("#links")).to_contain_text("No link is open")


async def test_the_customer_who_is_done_is_on_the_page_of_kvit_whatever_befalls_him(page: Page) -> None:
    card = await asked(page)
    await card.get_by_role("link", name=PAY).click()
    await phone(page).get_by_role("button", name="Authorize").click()
    await expect(last(page)).to_contain_text("Paid: DKK 125.00")
    await expect(page.get_by_role("textbox", name="Address")).to_have_value(re.compile("/p/"))
    await page.get_by_role("button", name="Skip 1 hour").click()
    await expect(phone(page).get_by_text("Thank you")).to_be_visible()
    await page.get_by_role("button", name="Check again").click()
    await expect(phone(page).get_by_text("Thank you")).to_be_visible()


async def test_who_is_declined_by_fate_leaves_the_wallet_too(page: Page) -> None:
    card = await asked(page)
    await card.get_by_role("link", name=PAY).click()
    await expect(phone(page).get_by_role("button", name="Authorize")).to_be_visible()
    await page.get_by_role("button", name="Decline 125.00 DKK Coffee").click()
    await expect(phone(page).get_by_text("Reference")).to_be_visible()


async def test_a_link_is_shared_or_copied_and_pasted(page: Page, market: DemoStack) -> None:
    card = await asked(page)
    await card.get_by_role("link", name="Share").click()
    await expect(page.locator("#toast")).to_have_text("Sent to Clara’s phone")
    await phone(page).get_by_role("button", name=PAY).click()
    await expect(phone(page).get_by_role("button", name="Authorize")).to_be_visible()
    await page.get_by_role("button", name="Close the page").click()
    await expect(page.locator("#screen iframe")).to_have_count(0)
    await card.get_by_role("button", name="Copy link").click()
    await expect(page.locator("#toast")).to_contain_text("Copied")
    await page.get_by_role("textbox", name="Address").focus()
    await page.keyboard.press("Control+v")
    await page.keyboard.press("Enter")
    await expect(phone(page).get_by_role("button", name=PAY)).to_be_visible()
    await page.get_by_role("textbox", name="Address").fill("https://example.com/")
    await page.keyboard.press("Enter")
    await expect(page.locator("#buyer-toast")).to_contain_text("Only links of this demo")


async def test_commands_complete_by_the_keyboard_alone(page: Page) -> None:
    words = page.get_by_role("combobox", name="Message")
    await words.focus()
    await page.keyboard.type("/")
    menu = page.get_by_role("listbox", name="Commands")
    await expect(menu.get_by_role("option")).to_have_count(len(COMMANDS))
    await page.keyboard.press("ArrowDown")
    await expect(menu.get_by_role("option", selected=True)).to_contain_text(f"/{list(COMMANDS)[1]}")
    await page.keyboard.press("Escape")
    await expect(menu).to_be_hidden()
    await page.keyboard.type("sta")
    await expect(menu.get_by_role("option")).to_contain_text(["/status", "/start"])
    await page.keyboard.press("Tab")
    await expect(words).to_have_value("/status ")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.own")).to_contain_text("/status")
    await expect(page.locator(".message:not(.own)")).to_have_count(1)


async def test_a_tap_by_keyboard_keeps_its_place_though_the_card_changes(page: Page) -> None:
    card = await asked(page)
    await card.get_by_role("button", name="Cancel").focus()
    await page.keyboard.press("Enter")
    await expect(card).to_contain_text("Cancelled")
    assert await page.evaluate("document.activeElement.closest('.message') !== null")


async def test_a_card_is_answered_with_a_command(page: Page) -> None:
    card = await asked(page)
    await card.hover()
    await card.get_by_role("button", name="Reply to").click()
    await expect(page.locator("#replying")).to_contain_text("Reply to Kvit")
    await page.keyboard.type("/cancel")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.own").last.locator(".cite")).to_contain_text("Coffee")
    await expect(card).to_contain_text("Cancelled")
    await expect(page.locator("#replying")).to_be_hidden()


async def test_an_alert_has_to_be_closed_by_hand(page: Page, market: DemoStack) -> None:
    keyboard = {"inline_keyboard": [[{"text": "Tap me", "callback_data": "nothing"}]]}
    await call(market, "sendMessage", chat_id=seed_users.GUEST.id, text="first", reply_markup=keyboard)
    await page.get_by_role("radio", name="Sven").check(force=True)
    telegram = market.services.telegram
    telegram.send(seed_users.GUEST.id, seed_users.GUEST.id, "/start")
    await call(market, "sendMessage", chat_id=seed_users.GUEST.id, text="A button", reply_markup=keyboard)
    await market.service.stop()  # so that the tap is answered by the test
    await page.get_by_role("button", name="Tap me").click()
    tap = await telegram.wait_until(lambda t: next(iter(t.state.callback_queries), None), PATIENCE / 1000)
    await call(market, "answerCallbackQuery", callback_query_id=tap, text="Read this first", show_alert=True)
    await expect(page.get_by_role("dialog")).to_contain_text("Read this first")
    await page.get_by_role("button", name="OK", exact=True).click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.get_by_role("button", name="Tap me")).not_to_have_attribute("aria-busy", "true")


async def test_each_person_and_the_group_have_a_chat_of_their_own(page: Page) -> None:
    await asked(page)
    await page.get_by_role("radio", name="Sven").check(force=True)
    await expect(page.locator("#seller-owner")).to_have_text("Sven’s phone")
    await expect(page.locator(".message")).to_have_count(0)
    await page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    await expect(page.locator(".message").last).to_contain_text(str(seed_users.GUEST.id))
    await page.get_by_role("radio", name="Mikkel").check(force=True)
    await page.get_by_role("radio", name="Group").check(force=True)
    await asked(page, "/pay 40 DKK Cake")
    await page.get_by_role("radio", name="Clara").check(force=True)
    await expect(page.locator(".message .name").first).to_have_text("Mikkel")
    await expect(await card_on(page)).to_contain_text("Cake")


async def test_news_in_another_chat_is_marked_until_it_is_read(page: Page) -> None:
    await asked(page)
    await page.get_by_role("radio", name="Astrid").check(force=True)
    await page.get_by_role("button", name="Approve 125.00").click()
    olivia = page.locator("#people label", has_text="Olivia")
    await expect(olivia).to_have_class(re.compile("news"))
    await page.get_by_role("radio", name="Olivia").check(force=True)
    await expect(olivia).not_to_have_class(re.compile("news"))
    await expect(last(page)).to_contain_text("Paid: DKK 125.00")


async def test_lost_webhooks_are_found_a_minute_later(page: Page) -> None:
    card = await asked(page)
    lose = page.get_by_role("button", name="Webhooks get lost")
    await lose.click()
    await expect(lose).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("button", name="Approve 125.00").click()
    await expect(page.locator("#links")).to_contain_text("No link is open")
    await expect(card).to_contain_text("Waiting")
    await page.get_by_role("button", name="Skip 1 min").click()
    await page.get_by_role("button", name="Skip 5 min").click()
    await expect(card).to_contain_text("Paid")


async def test_what_was_written_while_telegram_was_down_is_answered_afterwards(page: Page) -> None:
    await page.get_by_role("button", name="Telegram is down").click()
    await expect(page.locator("#telegram-weather")).to_be_visible()
    await page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    await expect(page.locator(".message.own")).to_have_count(1)
    await page.get_by_role("button", name="Telegram is down").click()
    await expect(page.locator("#telegram-weather")).to_be_hidden()
    await page.get_by_role("button", name="Skip 1 min").click()
    await expect(last(page).get_by_role("link", name=PAY)).to_be_visible()


async def test_in_the_customers_chat_what_the_bot_offers_becomes_the_card(page: Page, market: DemoStack) -> None:
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    await expect(page.locator("#inline-hint")).to_be_visible()
    await expect(page.locator("#seller-name")).to_have_text("Clara")
    offers = await offered(page, "125 coffee")
    await expect(offers).to_have_text(["Request DKK 125.00coffee"])
    assert market.services.stripe.store.intents == {}
    await offers.first.click()
    card = await card_on(page)
    await expect(card).to_contain_text("via @KvitDemoBot")
    await expect(page.get_by_role("combobox", name="Message")).to_have_value("")
    await page.get_by_role("radio", name="Clara").check(force=True)
    await expect(card).to_contain_text("Olivia via @KvitDemoBot")
    await card.get_by_role("link", name=PAY).click()
    await phone(page).get_by_role("button", name="Authorize").click()
    await expect(card).to_contain_text("Paid")
    await page.get_by_role("radio", name="Mikkel").check(force=True)
    await expect(page.locator(".message")).to_have_count(0)


async def test_a_card_in_the_customers_chat_is_tapped_where_it_stands_and_found_again(page: Page) -> None:
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    await page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    await expect(page.get_by_role("option")).to_have_count(1)
    await page.get_by_role("button", name="Send").click()
    card = await card_on(page)
    await page.get_by_role("button", name="Decline 125.00").click()
    await expect(card).to_contain_text("Payment attempt failed")
    await card.get_by_role("link", name=PAY).click()
    await phone(page).get_by_role("button", name=PAY).click()
    await expect(phone(page).get_by_role("button", name="Authorize")).to_be_visible()
    await page.reload()
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    await expect(page.locator(".message")).to_contain_text("Waiting")


async def test_what_is_offered_is_for_whoever_holds_the_phone(page: Page) -> None:
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    offers = await offered(page, "125 coffee")
    await expect(offers).to_contain_text(["DKK 125.00"])
    await page.get_by_role("radio", name="Sven").check(force=True)
    await expect(offers).to_contain_text([str(seed_users.GUEST.id)])


async def test_in_the_customers_chat_nothing_else_is_sent(page: Page, market: DemoStack) -> None:
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    await page.get_by_role("combobox", name="Message").fill("/pay 125 DKK Coffee")
    await page.keyboard.press("Enter")
    await expect(page.locator("#toast")).to_contain_text("type @KvitDemoBot and an amount")
    assert not any(entry.method == "message" for entry in market.services.telegram.transcript)


async def test_money_is_refunded_and_comes_back_by_fate(page: Page, market: DemoStack) -> None:
    await asked(page)
    await page.get_by_role("button", name="Approve 125.00").click()
    poor = page.get_by_role("button", name="No money for refunds")
    await poor.click()
    await expect(poor).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("button", name="Refund in Dashboard 125.00").click()
    await expect(page.get_by_role("button", name="Refund succeeds 125.00")).to_be_visible()
    await poor.click()
    await page.get_by_role("button", name="Refund fails 125.00").focus()
    await expect(page.get_by_role("button", name="Refund succeeds 125.00")).to_have_count(0)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Refund in Dashboard 125.00")).to_be_visible()
    assert await page.evaluate("document.activeElement.textContent") == "1 min"
    [refund] = market.services.stripe.store.refunds.values()
    assert (refund["status"], refund["failure_reason"]) == ("failed", "expired_or_canceled_card")


async def test_a_large_refund_needs_the_yes_of_another_admin(page: Page) -> None:
    card = await asked(page, "/pay 900 DKK Chair")
    await page.get_by_role("button", name="Approve 900.00").click()
    await expect(card).to_contain_text("Paid")
    await card.hover()
    await card.get_by_role("button", name="Reply to").click()
    await page.keyboard.type("/refund")
    await page.keyboard.press("Enter")
    yes = page.get_by_role("button", name="Refund DKK 900.00", exact=True)
    await yes.click()
    await expect(last(page)).to_contain_text("another admin")
    await page.get_by_role("radio", name="Birgit").check(force=True)
    await yes.click()
    await page.get_by_role("radio", name="Olivia").check(force=True)
    await expect(card).to_contain_text("Refunded")


async def test_a_hold_lapses_by_fate(page: Page) -> None:
    card = await asked(page, "/hold 300 DKK Deposit")
    await page.get_by_role("button", name="Approve 300.00").click()
    await expect(card).to_contain_text("Reserved")
    await page.get_by_role("button", name="Hold lapses 300.00").click()
    await expect(card.get_by_role("button", name="Charge")).to_have_count(0)
    await expect(page.locator("#payments")).to_contain_text("Nothing is paid or held")


async def test_a_customer_disputes_and_the_bank_decides(page: Page, market: DemoStack) -> None:
    await asked(page)
    await page.get_by_role("button", name="Approve 125.00").click()
    refunds, disputes = (
        page.get_by_role("button", name=f"{words} 125.00 DKK Coffee", exact=True)
        for words in ("Refund in Dashboard", "Customer disputes")
    )
    await disputes.click()
    await expect(refunds).to_have_count(0)
    await page.get_by_role("button", name="Dispute won 125.00").click()
    await expect(refunds).to_be_visible()
    await expect(disputes).to_have_count(0)
    assert [each["status"] for each in market.services.stripe.store.disputes.values()] == ["won"]


async def test_the_strip_opens_and_hides_what_was_said(page: Page) -> None:
    await asked(page)
    rows = page.locator("#rows li:visible")
    await expect(rows.filter(has_text="Stripe → Kvit").first).to_be_visible()
    await page.get_by_role("button", name="Webhooks", exact=True).click()
    await expect(rows.filter(has_text="Stripe → Kvit")).to_have_count(0)
    row = rows.filter(has_text="POST /v1/payment_intents").first
    await row.locator("summary").click()
    await expect(row.locator("pre")).to_contain_text("12500")


async def test_whoever_opens_the_page_later_finds_everything(page: Page) -> None:
    card = await asked(page)
    await page.get_by_role("button", name="Decline 125.00").click()
    await expect(card).to_contain_text("Payment attempt failed")
    await page.reload()
    await expect(card).to_contain_text("Payment attempt failed")
    await expect(page.locator("#rows")).to_contain_text("charge.failed")
    assert await page.locator("#toast.up").count() == 0
