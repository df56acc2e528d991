"""The proxies of deploy/ fit Kvit: what they pass on, what they keep out, how long they wait, whose word they are."""

from __future__ import annotations

import re
from pathlib import Path

from bot.front import HEAD_SECONDS, IDLE_SECONDS
from bot.settings import Settings
from handlers.web.pay_page import HEARTBEAT_INTERVAL
from handlers.web.request_body import MAX_BODY, READ_SECONDS

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
CADDY, NGINX = ((DEPLOY / name).read_text("utf-8") for name in ("Caddyfile", "nginx.conf"))
HERE = f"127.0.0.1:{Settings.model_fields['port'].default}"
UNITS = {"s": 1, "m": 60}


def seconds(text: str, option: str) -> list[float]:
    """Every time that an option of this name is given."""
    found = re.findall(rf"^\s*{option} (\d+)([sm]);?$", text, re.MULTILINE)
    assert found, option
    return [int(number) * UNITS[unit] for number, unit in found]


def location(path: str) -> str:
    """What nginx does with a place."""
    _, _, rest = NGINX.partition(f"location {path} {{\n")
    return rest.partition("}")[0]


def test_both_lead_to_where_kvit_listens() -> None:
    assert f"reverse_proxy {HERE} {{" in CADDY
    assert f"server {HERE};" in NGINX
    assert "proxy_pass http://kvit;" in location("/")


def test_neither_shows_the_numbers_to_the_world() -> None:
    assert "respond /metrics* 404" in CADDY
    assert location("/metrics").split() == ["return", "404;"]


def test_a_body_may_be_as_large_as_kvit_takes_it_and_as_slow() -> None:
    assert MAX_BODY == 1024**2
    assert "max_size 1MiB" in CADDY
    assert "client_max_body_size 1m;" in NGINX
    assert seconds(CADDY, "read_body") == seconds(NGINX, "client_body_timeout") == [READ_SECONDS]
    assert seconds(CADDY, "read_header") == seconds(NGINX, "client_header_timeout") == [HEAD_SECONDS]


def test_connections_to_kvit_are_ended_by_the_proxy_before_kvit_does() -> None:
    assert max(*seconds(CADDY, "keepalive"), *seconds(NGINX, "keepalive_timeout")) < IDLE_SECONDS
    assert 'proxy_set_header Connection "";' in NGINX


def test_events_go_out_as_they_come_and_their_silence_is_borne() -> None:
    assert "flush_interval -1" in CADDY
    streams = location("~ ^/p/[^/]+/state$")
    assert "proxy_buffering off;" in streams
    assert "proxy_pass http://kvit;" in streams
    assert min(seconds(NGINX, "proxy_read_timeout")) > 2 * HEARTBEAT_INTERVAL


def test_a_visitor_cannot_say_where_he_comes_from() -> None:
    """Caddy drops what he says unless it is told to trust somebody; nginx has to be told."""
    assert "trusted_proxies" not in CADDY
    assert re.findall(r"X-Forwarded-For (.*);", NGINX) == ["$remote_addr"]


def test_addresses_of_pages_are_written_nowhere() -> None:
    """A `log` in a site of Caddy's would be of its visits; the one before all sites leaves out what is about any."""
    everything, _, site = CADDY.partition("pay.example.dk {")
    assert "exclude http.log http.handlers" in everything
    assert not re.search(r"^\s*log\b", site, re.MULTILINE)
    servers = len(re.findall(r"^server \{", NGINX, re.MULTILINE))
    assert NGINX.count("access_log off;") == NGINX.count("error_log /var/log/nginx/error.log emerg;") == servers
