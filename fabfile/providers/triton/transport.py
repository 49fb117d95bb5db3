"""Transport: one signed request over HTTP, and what came back; repeats nothing and judges no answer."""

from __future__ import annotations

import json
import ssl
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from ...errors import ProviderRefused
from .identity import Identity
from .refusals import Answer
from .signing import Signature, Signer

VERSIONS = "~9||~8"  # of the API, which has numbers of its own
HEADERS = {"Accept": "application/json", "Accept-Version": VERSIONS, "User-Agent": "ipyfleet"}


class NoAnswer(Exception):  # an outcome that is looked at, never raised
    """The connection failed, or nothing came over it; the text says why. ``sent`` False: nothing went out either."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.sent = sent


class Transport:
    """The way to one CloudAPI, used by any number of threads."""

    def __init__(self, identity: Identity, signer: Signer, connect: float) -> None:
        """``connect`` is how long a connection may take, in seconds."""
        self._identity = identity
        self._connect = connect
        self._session = requests.Session()
        self._session.headers.update(HEADERS)
        self._session.auth = Signature(identity.key_path, signer)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # threads share the session
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=32, max_retries=0)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        if identity.insecure:  # asked for by name, so no line of warning with every call
            import urllib3

            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def send(self, method: str, target: str, data: bytes | None, read: float) -> Answer | NoAnswer:
        """The answer, whatever it is; raises ProviderRefused where no later attempt can fare better."""
        url = self._identity.url
        try:
            response = self._session.request(
                method,
                url + target,
                data=data,
                headers={"Content-Type": "application/json"} if data is not None else {},
                timeout=(self._connect, read),
                allow_redirects=False,  # another host would get the signature
                verify=False if self._identity.insecure else None,
            )
        except requests.exceptions.SSLError as error:
            if _broke_off(error):  # as when a load balancer starts anew
                return NoAnswer(_cause(error), sent=True)
            raise ProviderRefused(
                f"no trusted encrypted connection to {url}: {_cause(error)}",
                hint="look at this computer's clock and at REQUESTS_CA_BUNDLE; TRITON_TLS_INSECURE=1 takes any",
            ) from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            return NoAnswer(_cause(error), sent=not _unsent(error))
        except requests.RequestException as error:
            raise ProviderRefused(
                f"{url} cannot be asked: {error}", hint="correct TRITON_URL, or the profile's url"
            ) from error
        return Answer(response.status_code, _body(response), response.headers)


def _broke_off(error: BaseException) -> bool:
    """Whether the connection ended in the middle; what else is wrong with encryption no later attempt mends."""
    seen: set[int] = set()
    todo = [error]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        if isinstance(one, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError):
            return True
        seen.add(id(one))
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        todo += [other for other in inner if isinstance(other, BaseException)]
    return False


def _body(response: requests.Response) -> Any:
    try:
        return json.loads(response.content) if response.content else ""
    except ValueError:
        return response.text


def _unsent(error: requests.RequestException) -> bool:
    """Whether there never was a connection."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError)


def _cause(error: BaseException) -> str:
    """The innermost reason, without what requests and urllib3 wrap it in."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
