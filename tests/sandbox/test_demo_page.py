"""The demo page in a browser: the merchant's phone, the customer's phone, and the controls."""

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
from tests.support.demo_phones import (
    PAY,
    WIDE,
    call_bot_api,
    customer_page,
    inline_results,
    last_bot_message,
    payment_message_on,
    request_payment,
)
from tests.support.world import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")
"""All tests share one browser; each has its own demo and page."""


@pytest_asyncio.fixture(loop_scope="session")
async def demo() -> AsyncIterator[tuple[str, DemoStack]]:
    async with start_demo(0, unthrottled=True) as running:
        yield running


@pytest.fixture
def stack(demo: tuple[str, DemoStack]) -> DemoStack:
    return demo[1]


@pytest_asyncio.fixture(loop_scope="session")
async def page(demo: tuple[str, DemoStack], browser: Browser) -> AsyncIterator[Page]:
    settings = {"viewport": WIDE, "permissions": ["clipboard-read", "clipboard-write"]}
    async with page_at(browser, demo[0], **settings) as shown:
        yield shown


async def test_payment_is_requested_and_approved_on_the_two_phones(page: Page) -> None:
    await page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    payment_message = await payment_message_on(page)
    await payment_message.get_by_role("link", name=PAY).click()
    await expect(page.locator("#toast")).to_have_text("Opened on Clara’s phone")
    await expect(customer_page(page).get_by_text("Ends in")).to_contain_text(re.compile("[45]:[0-5][0-9]"))
    await customer_page(page).get_by_role("button", name="Authorize").click()
    await expect(customer_page(page).get_by_text("Reference")).to_be_visible()
    await expect(payment_message).to_contain_text("Paid")
    await expect(payment_message).to_contain_text("edited")
    await expect(payment_message.get_by_role("link", name=PAY)).to_have_count(0)
    await expect(payment_message.get_by_role("link", name="Receipt")).to_be_visible()
    await expect(page.locator(".message").last.locator(".cite")).to_contain_text("Kvit")


async def test_traffic_begins_with_the_first_command(page: Page) -> None:
    await expect(page.locator("#no-traffic")).to_be_visible()
    assert await page.locator("#rows li").count() == 0
    await request_payment(page)
    await expect(page.locator("#rows li").last).to_contain_text("message")
    await expect(page.locator("#rows")).not_to_contain_text("setMyCommands")
    await page.reload()
    await expect(page.locator("#rows li").last).to_contain_text("message")


async def test_fault_is_explained_and_its_failed_calls_are_shown(page: Page) -> None:
    about = page.locator("#fault-about")
    await expect(about).to_contain_text("Point at one")
    for name, explained in (("Webhooks get lost", "Stripe reports nothing"), ("Balance is empty", "Refunds wait")):
        await page.get_by_role("button", name=name).focus()
        await expect(about).to_contain_text(explained)
    await page.get_by_role("button", name="Stripe is down").click()
    await page.get_by_role("combobox", name="Message").fill("/pay 125 DKK Coffee")
    await page.get_by_role("button", name="Send").click()
    failed = page.locator("#rows li.stripe", has_text="no response").first
    await expect(failed).to_contain_text("POST /v1/payment_intents")
    await expect(about).to_contain_text("Kvit’s calls fail")
    await page.get_by_role("button", name="Telegram is down").click()
    await expect(page.locator("#rows li.telegram", has_text="no response").first).to_be_visible()


@pytest.mark.long
async def test_stripes_page_ends_with_its_attempt(page: Page) -> None:
    payment_message = await request_payment(page)
    await payment_message.get_by_role("link", name=PAY).click()
    await expect(customer_page(page).get_by_role("button", name="Authorize")).to_be_visible()
    ref = re.findall(r"#(\w+)", await payment_message.inner_text())[0]
    await page.get_by_role("combobox", name="Message").fill(f"/cancel {ref}")
    await page.get_by_role("button", name="Send").click()
    await expect(customer_page(page).get_by_text("This payment was canceled.")).to_be_visible()
    await expect(customer_page(page).get_by_role("button", name="Authorize")).to_have_count(0)


@pytest.mark.long
async def test_page_outlives_its_demo_and_keeps_what_was_typed(browser: Browser) -> None:
    port = free_port()
    async with start_demo(port, unthrottled=True) as (address, _):
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        page = await context.new_page()
        page.set_default_timeout(PATIENCE)
        await page.goto(address)
        await request_payment(page)
        await expect(page.locator("#links")).to_contain_text("125.00 DKK Coffee")
    await expect(page.locator("#offline")).to_be_visible()
    await page.get_by_role("combobox", name="Message").fill("/pay 99 DKK Tea")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("#toast")).to_contain_text("does not answer")
    await expect(page.get_by_role("combobox", name="Message")).to_have_value("/pay 99 DKK Tea")
    async with start_demo(port, unthrottled=True) as (second, _):
        assert second == address
        await expect(page.locator("#links")).to_contain_text("No link is open.")
        await expect(page.locator("#offline")).to_be_hidden()
        assert await page.locator("#rows li").count() == 0
        assert await page.locator(".message").count() == 0
        await expect(page.get_by_role("combobox", name="Message")).to_have_value("/pay 99 DKK Tea")
        await page.get_by_role("button", name="Send").click()
        payment_message = await payment_message_on(page)
        await payment_message.get_by_role("link", name=PAY).click()
        await expect(customer_page(page).get_by_role("button", name="Authorize")).to_be_visible()
        await context.close()


async def test_declined_payment_is_paid_by_the_same_link(page: Page) -> None:
    payment_message = await request_payment(page)
    await page.get_by_role("button", name="Decline 125.00 DKK Coffee").click()
    await expect(payment_message).to_contain_text("Payment attempt failed")
    await payment_message.get_by_role("link", name=PAY).click()
    await customer_page(page).get_by_role("button", name=PAY).click()
    await customer_page(page).get_by_role("button", name="Authorize").click()
    await expect(payment_message).to_contain_text("Paid")


@pytest.mark.long
async def test_link_expires_on_both_phones_after_five_minutes(page: Page) -> None:
    payment_message = await request_payment(page)
    await payment_message.get_by_role("link", name=PAY).click()
    await expect(customer_page(page).get_by_role("button", name="Authorize")).to_be_visible()
    before = await page.locator(".clock").first.text_content()
    await page.get_by_role("button", name="Skip 5 min").click()
    await expect(payment_message).to_contain_text("expired")
    await expect(customer_page(page).get_by_text("This link has expired")).to_be_visible()
    await expect(page.locator(".clock").first).not_to_have_text(before or "")
    await expect(page.locator("#links")).to_contain_text("No link is open")


@pytest.mark.long
async def test_customer_stays_on_the_pay_page_after_payment_time_jump_and_reload(page: Page) -> None:
    payment_message = await request_payment(page)
    await payment_message.get_by_role("link", name=PAY).click()
    await customer_page(page).get_by_role("button", name="Authorize").click()
    await expect(last_bot_message(page)).to_contain_text("Paid: DKK 125.00")
    await expect(page.get_by_role("textbox", name="Address")).to_have_value(re.compile("/p/"))
    await page.get_by_role("button", name="Skip 1 hour").click()
    await expect(customer_page(page).get_by_text("Thank you")).to_be_visible()
    await page.get_by_role("button", name="Reload").click()
    await expect(customer_page(page).get_by_text("Thank you")).to_be_visible()


async def test_customer_leaves_the_wallet_when_the_controls_decline(page: Page) -> None:
    payment_message = await request_payment(page)
    await payment_message.get_by_role("link", name=PAY).click()
    await expect(customer_page(page).get_by_role("button", name="Authorize")).to_be_visible()
    await page.get_by_role("button", name="Decline 125.00 DKK Coffee").click()
    await expect(customer_page(page).get_by_text("Reference")).to_be_visible()


@pytest.mark.long
async def test_link_can_be_shared_or_copied_and_pasted(page: Page, stack: DemoStack) -> None:
    payment_message = await request_payment(page)
    await payment_message.get_by_role("link", name="Share").click()
    await expect(page.locator("#toast")).to_have_text("Sent to Clara’s phone")
    await customer_page(page).get_by_role("button", name=PAY).click()
    await expect(customer_page(page).get_by_role("button", name="Authorize")).to_be_visible()
    await page.get_by_role("button", name="Close the page").click()
    await expect(page.locator("#screen iframe")).to_have_count(0)
    await payment_message.get_by_role("button", name="Copy link").click()
    await expect(page.locator("#toast")).to_contain_text("Copied")
    await page.get_by_role("textbox", name="Address").focus()
    await page.keyboard.press("Control+v")
    await page.keyboard.press("Enter")
    await expect(customer_page(page).get_by_role("button", name="Open MobilePay again")).to_be_visible()
    await page.get_by_role("textbox", name="Address").fill("https://example.com/")
    await page.keyboard.press("Enter")
    await expect(page.locator("#buyer-toast")).to_contain_text("Only links of this demo")


async def test_commands_are_completed_by_keyboard(page: Page) -> None:
    text_field = page.get_by_role("combobox", name="Message")
    await text_field.focus()
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
    await expect(text_field).to_have_value("/status ")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.own")).to_contain_text("/status")
    await expect(page.locator(".message:not(.own)")).to_have_count(1)


@pytest.mark.long
async def test_focus_stays_in_the_message_when_a_pressed_button_edits_it(page: Page) -> None:
    payment_message = await request_payment(page)
    await payment_message.get_by_role("button", name="Cancel").click()
    question = page.locator(".message").filter(has=page.get_by_role("button", name="Keep it open"))
    await question.get_by_role("button", name="Keep it open").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".message").filter(has_text="stays open")).to_be_visible()
    assert await page.evaluate("document.activeElement.closest('.message') !== null")


@pytest.mark.long
async def test_reply_to_the_payment_message_sends_a_command(page: Page) -> None:
    payment_message = await request_payment(page)
    await payment_message.hover()
    await payment_message.get_by_role("button", name="Reply to").click()
    await expect(page.locator("#replying")).to_contain_text("Reply to Kvit")
    await page.keyboard.type("/cancel")
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.own").last.locator(".cite")).to_contain_text("Coffee")
    await expect(payment_message).to_contain_text("Cancelled")
    await expect(page.locator("#replying")).to_be_hidden()


async def test_alert_answer_opens_a_dialog_until_it_is_closed(page: Page, stack: DemoStack) -> None:
    keyboard = {"inline_keyboard": [[{"text": "Tap me", "callback_data": "nothing"}]]}
    await call_bot_api(stack, "sendMessage", chat_id=seed_users.GUEST.id, text="first", reply_markup=keyboard)
    await page.get_by_role("radio", name="Sven").check(force=True)
    telegram = stack.services.telegram
    telegram.send(seed_users.GUEST.id, seed_users.GUEST.id, "/start")
    await call_bot_api(stack, "sendMessage", chat_id=seed_users.GUEST.id, text="A button", reply_markup=keyboard)
    await stack.service.stop()  # so that the tap is answered by the test
    await page.get_by_role("button", name="Tap me").click()
    tap = await telegram.wait_until(lambda t: next(iter(t.state.callback_queries), None), PATIENCE / 1000)
    await call_bot_api(stack, "answerCallbackQuery", callback_query_id=tap, text="Read this first", show_alert=True)
    await expect(page.get_by_role("dialog")).to_contain_text("Read this first")
    await page.get_by_role("button", name="OK", exact=True).click()
    await expect(page.get_by_role("dialog")).to_be_hidden()
    await expect(page.get_by_role("button", name="Tap me")).not_to_have_attribute("aria-busy", "true")


async def test_each_user_and_the_group_have_separate_chats(page: Page) -> None:
    await request_payment(page)
    await page.get_by_role("radio", name="Sven").check(force=True)
    await expect(page.locator("#seller-owner")).to_have_text("Sven’s phone")
    await expect(page.locator(".message")).to_have_count(0)
    await page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    await expect(page.locator(".message").last).to_contain_text(str(seed_users.GUEST.id))
    await page.get_by_role("radio", name="Mikkel").check(force=True)
    await page.get_by_role("radio", name="Group").check(force=True)
    await request_payment(page, "/pay 40 DKK Cake")
    await page.get_by_role("radio", name="Clara").check(force=True)
    await expect(page.locator(".message .name").first).to_have_text("Mikkel")
    await expect(await payment_message_on(page)).to_contain_text("Cake")


@pytest.mark.long
async def test_chat_with_new_messages_is_marked_until_it_is_opened(page: Page) -> None:
    await request_payment(page)
    await page.get_by_role("radio", name="Astrid").check(force=True)
    await page.get_by_role("button", name="Approve 125.00").click()
    olivia = page.locator("#users label", has_text="Olivia")
    await expect(olivia).to_have_class(re.compile("unread"))
    await page.get_by_role("radio", name="Olivia").check(force=True)
    await expect(olivia).not_to_have_class(re.compile("unread"))
    await expect(last_bot_message(page)).to_contain_text("Paid: DKK 125.00")


@pytest.mark.long
async def test_payment_is_found_without_webhooks(page: Page) -> None:
    payment_message = await request_payment(page)
    lose = page.get_by_role("button", name="Webhooks get lost")
    await lose.click()
    await expect(lose).to_have_attribute("aria-pressed", "true")
    await page.get_by_role("button", name="Approve 125.00").click()
    await expect(page.locator("#links")).to_contain_text("No link is open")
    await expect(payment_message).to_contain_text("Waiting")
    await page.get_by_role("button", name="Skip 1 min").click()
    await page.get_by_role("button", name="Skip 5 min").click()
    await expect(payment_message).to_contain_text("Paid")


async def test_message_sent_while_telegram_is_down_is_answered_afterwards(page: Page) -> None:
    await page.get_by_role("button", name="Telegram is down").click()
    await expect(page.locator("#telegram-fault")).to_be_visible()
    await page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    await expect(page.locator(".message.own")).to_have_count(1)
    await page.get_by_role("button", name="Telegram is down").click()
    await expect(page.locator("#telegram-fault")).to_be_hidden()
    await page.get_by_role("button", name="Skip 1 min").click()
    await expect(last_bot_message(page).get_by_role("link", name=PAY)).to_be_visible()


async def test_inline_result_becomes_a_payment_message_in_the_customers_chat(page: Page, stack: DemoStack) -> None:
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    await expect(page.locator("#inline-hint")).to_be_visible()
    await expect(page.locator("#seller-name")).to_have_text("Clara")
    offers = await inline_results(page, "125 coffee")
    await expect(offers).to_have_text(["Request DKK 125.00coffee"])
    assert stack.services.stripe.store.intents == {}
    await offers.first.click()
    payment_message = await payment_message_on(page)
    await expect(payment_message).to_contain_text("via @KvitDemoBot")
    await expect(page.get_by_role("combobox", name="Message")).to_have_value("")
    await page.get_by_role("radio", name="Clara").check(force=True)
    await expect(payment_message).to_contain_text("Olivia via @KvitDemoBot")
    await payment_message.get_by_role("link", name=PAY).click()
    await customer_page(page).get_by_role("button", name="Authorize").click()
    await expect(payment_message).to_contain_text("Paid")
    await page.get_by_role("radio", name="Mikkel").check(force=True)
    await expect(page.locator(".message")).to_have_count(0)


async def test_inline_payment_message_is_payable_and_survives_a_reload(page: Page) -> None:
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    await page.get_by_role("group", name="Examples").get_by_role("button").first.click()
    await expect(page.get_by_role("option")).to_have_count(1)
    await page.get_by_role("button", name="Send").click()
    payment_message = await payment_message_on(page)
    await page.get_by_role("button", name="Decline 125.00").click()
    await expect(payment_message).to_contain_text("Payment attempt failed")
    await payment_message.get_by_role("link", name=PAY).click()
    await customer_page(page).get_by_role("button", name=PAY).click()
    await expect(customer_page(page).get_by_role("button", name="Authorize")).to_be_visible()
    await page.reload()
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    await expect(page.locator(".message")).to_contain_text("Waiting")


@pytest.mark.long
async def test_inline_results_depend_on_the_selected_user(page: Page) -> None:
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    offers = await inline_results(page, "125 coffee")
    await expect(offers).to_contain_text(["DKK 125.00"])
    await page.get_by_role("radio", name="Sven").check(force=True)
    await expect(offers).to_contain_text([str(seed_users.GUEST.id)])


async def test_plain_message_is_not_sent_in_the_customers_chat(page: Page, stack: DemoStack) -> None:
    await page.get_by_role("radio", name="Customer", exact=True).check(force=True)
    await page.get_by_role("combobox", name="Message").fill("/pay 125 DKK Coffee")
    await page.keyboard.press("Enter")
    await expect(page.locator("#toast")).to_contain_text("type @KvitDemoBot and an amount")
    assert not any(entry.method == "message" for entry in stack.services.telegram.transcript)


@pytest.mark.long
async def test_dashboard_refund_waits_for_the_balance_succeeds_and_fails_later(page: Page, stack: DemoStack) -> None:
    await request_payment(page)
    await page.get_by_role("button", name="Approve 125.00").click()
    poor = page.get_by_role("button", name="Balance is empty")
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
    [refund] = stack.services.stripe.store.refunds.values()
    assert (refund["status"], refund["failure_reason"]) == ("failed", "expired_or_canceled_card")


@pytest.mark.long
async def test_refund_above_the_limit_needs_another_admin(page: Page) -> None:
    payment_message = await request_payment(page, "/pay 900 DKK Chair")
    await page.get_by_role("button", name="Approve 900.00").click()
    await expect(payment_message).to_contain_text("Paid")
    await payment_message.hover()
    await payment_message.get_by_role("button", name="Reply to").click()
    await page.keyboard.type("/refund")
    await page.keyboard.press("Enter")
    yes = page.get_by_role("button", name="Refund DKK 900.00", exact=True)
    await yes.click()
    await expect(last_bot_message(page)).to_contain_text("another admin")
    await page.get_by_role("radio", name="Birgit").check(force=True)
    await yes.click()
    await page.get_by_role("radio", name="Olivia").check(force=True)
    await expect(payment_message).to_contain_text("Refunded")


async def test_hold_expires_by_the_controls(page: Page) -> None:
    payment_message = await request_payment(page, "/hold 300 DKK Deposit")
    await page.get_by_role("button", name="Approve 300.00").click()
    await expect(payment_message).to_contain_text("Reserved")
    await page.get_by_role("button", name="Hold expires 300.00").click()
    await expect(payment_message.get_by_role("button", name="Charge")).to_have_count(0)
    await expect(page.locator("#payments")).to_contain_text("Nothing is paid or held")


async def test_dispute_is_opened_and_won_by_the_controls(page: Page, stack: DemoStack) -> None:
    await request_payment(page)
    await page.get_by_role("button", name="Approve 125.00").click()
    refunds, disputes = (
        page.get_by_role("button", name=f"{label} 125.00 DKK Coffee", exact=True)
        for label in ("Refund in Dashboard", "Customer disputes")
    )
    await disputes.click()
    await expect(refunds).to_have_count(0)
    await page.get_by_role("button", name="Dispute won 125.00").click()
    await expect(refunds).to_be_visible()
    await expect(disputes).to_have_count(0)
    assert [dispute["status"] for dispute in stack.services.stripe.store.disputes.values()] == ["won"]


async def test_traffic_rows_can_be_filtered_and_expanded(page: Page) -> None:
    await request_payment(page)
    rows = page.locator("#rows li:visible")
    await expect(rows.filter(has_text="Stripe → Kvit").first).to_be_visible()
    await page.get_by_role("button", name="Webhooks", exact=True).click()
    await expect(rows.filter(has_text="Stripe → Kvit")).to_have_count(0)
    row = rows.filter(has_text="POST /v1/payment_intents").first
    await row.locator("summary").click()
    await expect(row.locator("pre")).to_contain_text("12500")


@pytest.mark.long
async def test_reloaded_page_shows_the_earlier_messages_and_traffic(page: Page) -> None:
    payment_message = await request_payment(page)
    await page.get_by_role("button", name="Decline 125.00").click()
    await expect(payment_message).to_contain_text("Payment attempt failed")
    await page.reload()
    await expect(payment_message).to_contain_text("Payment attempt failed")
    await expect(page.locator("#rows")).to_contain_text("charge.failed")
    assert await page.locator("#toast.up").count() == 0
