"""Invitations and claims that were written where others read them are voided at once."""

from __future__ import annotations

import logging
import re
from urllib.parse import unquote

from handlers.access.membership import CLAIM_PREFIX
from handlers.chat.context import Context
from handlers.shops.invitations import INVITE

log = logging.getLogger(__name__)

SECRET = re.compile(rf"({INVITE}|{CLAIM_PREFIX})([A-Za-z0-9_-]+)")
TOKEN_LENGTHS = {INVITE: 32, CLAIM_PREFIX: 22}
MAX_SECRETS = 10
"""Secrets of one message that are looked up at most."""


async def void_leaked_secrets(context: Context) -> bool:
    """Void every valid secret in a group's message and tell those concerned; False if there is none.

    Any reader of the group could use it before the person it was meant for.
    """
    if context.is_private:
        return False
    voided = False
    words = " ".join((context.message.args, *map(unquote, context.message.links)))
    for prefix, token in SECRET.findall(words)[:MAX_SECRETS]:
        payload = prefix + token[: TOKEN_LENGTHS[prefix]]
        if prefix == INVITE:
            voided |= await context.services.invitations.void_leaked(payload)
        elif await context.services.membership.void_leaked_claim(payload):
            log.warning("the claim link was written in a group and is void; a restart makes a new one")
            voided = True
    if voided:
        await context.reply("error.secret_in_group")
    return voided
