"""The proxies of deploy/ fit Kvit: routes, sizes, timeouts, forwarded addresses, logs."""

from __future__ import annotations

import re

from bot.web_server import KEEPALIVE_TIMEOUT, MAX_FIELD_BYTES, MAX_OPEN_PAGES
from handlers.web.pay_page import HEARTBEAT_INTERVAL
from handlers.web.request_body import MAX_BODY, READ_SECONDS
from tests.deploy.proxies import CADDY, NGINX, UPSTREAM

UNITS = {"s": 1, "m": 60}


def seconds(text: str, option: str) -> list[float]:
    """Every value of an option of this name."""
    found = re.findall(rf"^\s*{option} (\d+)([sm]);?$", text, re.MULTILINE)
    assert found, option
    return [int(number) * UNITS[unit] for number, unit in found]


def location(path: str) -> str:
    """The settings of one of nginx's locations."""
    _, _, rest = NGINX.partition(f"location {path} {{\n")
    return rest.partition("}")[0]


def test_proxies_pass_on_to_the_default_port() -> None:
    assert f"reverse_proxy {UPSTREAM} {{" in CADDY
    assert f"server {UPSTREAM} " in NGINX
    assert "proxy_pass http://kvit;" in location("/")


def test_proxies_do_not_pass_on_metrics() -> None:
    assert "respond /metrics* 404" in CADDY
    assert location("/metrics").split() == ["return", "404;"]


def test_proxies_accept_bodies_as_large_and_as_slow_as_kvit_does() -> None:
    assert MAX_BODY == 1024**2
    assert "max_size 1MiB" in CADDY
    assert "client_max_body_size 1m;" in NGINX
    assert seconds(CADDY, "read_body") == seconds(NGINX, "client_body_timeout") == [READ_SECONDS]


def test_proxies_bound_the_head_of_a_request() -> None:
    assert seconds(CADDY, "read_header") == seconds(NGINX, "client_header_timeout") == [10]
    assert MAX_FIELD_BYTES < 32 * 1024
    assert "large_client_header_buffers 4 32k;" in NGINX
    assert "max_header_size 64KB" in CADDY


def test_proxies_close_idle_connections_before_kvit_does() -> None:
    assert max(*seconds(CADDY, "keepalive"), *seconds(NGINX, "keepalive_timeout")) < KEEPALIVE_TIMEOUT
    assert 'proxy_set_header Connection "";' in NGINX


def test_proxies_open_no_more_connections_than_kvit_has_files_for() -> None:
    """Half of them are open pages at most, so that webhooks always find one."""
    assert f"max_conns_per_host {2 * MAX_OPEN_PAGES}\n" in CADDY
    assert f"max_conns={2 * MAX_OPEN_PAGES};" in NGINX


def test_nginx_allows_one_client_more_requests_than_open_pages() -> None:
    """A client may have 200 pages open (`LiveUpdates`), and still loads and pays."""
    assert "limit_conn kvit_client 400;" in NGINX


def test_proxies_do_not_buffer_live_updates_and_wait_for_heartbeats() -> None:
    assert "flush_interval -1" in CADDY
    streams = location("~ ^/p/[^/]+/state$")
    assert "proxy_buffering off;" in streams
    assert "proxy_pass http://kvit;" in streams
    assert min(seconds(NGINX, "proxy_read_timeout")) > 2 * HEARTBEAT_INTERVAL


def test_proxies_do_not_pass_on_a_forwarded_address_of_the_client() -> None:
    """Caddy drops it unless configured otherwise; nginx has to be configured to."""
    assert "trusted_proxies" not in CADDY
    assert re.findall(r"X-Forwarded-For (.*);", NGINX) == ["$remote_addr"]


def test_proxies_log_no_urls() -> None:
    """A `log` in a site of Caddy's would log its requests; the global one leaves out what is about any."""
    everything, _, site = CADDY.partition("pay.example.dk {")
    assert "exclude http.log http.handlers" in everything
    assert not re.search(r"^\s*log\b", site, re.MULTILINE)
    servers = len(re.findall(r"^server \{", NGINX, re.MULTILINE))
    assert NGINX.count("access_log off;") == NGINX.count("error_log /var/log/nginx/error.log emerg;") == servers
