"""Certificates and proxies as the environment sets them, for httpx and for bare sockets alike."""

from __future__ import annotations

import os
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import certifi

from cuready._util import expand_user
from cuready.errors import ConfigError

__all__ = ["CA_VARIABLES", "ca_file", "proxy_for", "ssl_context"]

# In this order. SSL_CERT_FILE is OpenSSL's own; the others are those of requests (conda), curl and
# pip. Each *replaces* the default bundle, as it does in those tools.
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT")


def ca_file(environ: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """(variable, path) of the CA file or folder that the environment names, or None.

    Raises ConfigError when the variable names something that is not there: falling back silently
    would hide why the next handshake fails.
    """
    variables = os.environ if environ is None else environ
    for name in CA_VARIABLES:
        value = variables.get(name, "")
        if not value:
            continue
        if not expand_user(value).exists():
            raise ConfigError(
                f"{name} names a CA file that does not exist: {value}",
                hint=f"correct or unset {name}",
            )
        return name, str(expand_user(value))
    return None


def ssl_context(environ: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """A verifying context: the environment's CA file, else the system's CAs and certifi's together.

    Both, because a conda Python may find no system store, and certifi knows no CA of a company.
    """
    named = ca_file(environ)
    context = ssl.create_default_context()
    if named is None:
        context.load_verify_locations(cafile=certifi.where())
        return context
    variable, path = named
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if Path(path).is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"{variable} names a file that holds no certificates: {path} ({error})",
            hint="it must be a PEM file with one or more CA certificates",
        ) from None
    return context


def proxy_for(url: str) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY set for ``url``, or None."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
