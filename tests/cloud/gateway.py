"""The door of the cloud: every request is noted here, and refused, lost or answered before moto sees it."""

from __future__ import annotations

import io
import re
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any

from . import calls
from .answers import Answer, Answers, error
from .calls import Call
from .faults import Faults

Environ = dict[str, Any]
CODE = re.compile(rb'<Code>([^<]+)</Code>|"__type"\s*:\s*"(?:[^"#]*#)?([^"]+)"')
MOST_VALUES = 200  # of one filter
# How each service says that it does not know the credentials, or that they are over, with the HTTP status.
UNKNOWN_KEY = {"ec2": ("AuthFailure", 401), "sts": ("InvalidClientTokenId", 403)}
EXPIRED = {"ec2": ("RequestExpired", 400), "sts": ("ExpiredToken", 403)}


class Gateway:
    """A WSGI application in front of moto's."""

    def __init__(self, moto: Callable[..., Iterable[bytes]]) -> None:
        self.moto = moto
        self.calls: list[Call] = []
        self.faults = Faults()
        self.answers = Answers()
        self.access_keys = {"testing"}
        self._here = threading.local()

    @property
    def current(self) -> Call:
        """The call that this thread is carrying out; an empty one where there is none."""
        return getattr(self._here, "call", None) or Call("", "")

    def forget(self) -> None:
        """Be as new."""
        self.calls, self.faults, self.answers, self.access_keys = [], Faults(), Answers(), {"testing"}

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request."""
        if environ.get("PATH_INFO") == "/checkip":
            return _send(start_response, Answer(200, "text/plain", f"{environ['REMOTE_ADDR']}\n".encode()))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        call = calls.read(environ, body)
        if not call.service:
            return self.moto(environ, start_response)
        self.calls.append(call)
        self._here.call = call
        try:
            answer = self._answer(call, environ)
        finally:
            self._here.call = None
        if answer is None:
            call.error = "no answer"
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return _send(start_response, Answer(500, "text/plain", b""))
        call.status = answer.status
        if answer.status >= 400 and (code := CODE.search(answer.body)):
            call.error = (code[1] or code[2]).decode()
        return _send(start_response, answer)

    def _answer(self, call: Call, environ: Environ) -> Answer | None:
        """The answer; None for none at all."""
        if call.access_key not in self.access_keys:
            code, status = UNKNOWN_KEY.get(call.service, ("UnrecognizedClientException", 400))
            return error(call, code, "AWS was not able to validate the provided access credentials", status)
        if call.protocol == "ec2" and any(len(values) > MOST_VALUES for values in call.filters().values()):
            message = f"The maximum number of filter values specified on a single call is {MOST_VALUES}"
            return error(call, "FilterLimitExceeded", message)
        for after in (False, True):
            fault = self.faults.due(call, after)
            if fault is None:
                continue
            if after:
                self._carried_out(call, environ)
            if not fault.code:
                return None
            code, status = fault.code, fault.status
            if code == "RequestExpired":
                code, status = EXPIRED.get(call.service, ("ExpiredTokenException", 400))
            return error(call, code, fault.message, status)
        return self._carried_out(call, environ)

    def _carried_out(self, call: Call, environ: Environ) -> Answer:
        return self.answers.to(call) or self._motos(environ)

    def _motos(self, environ: Environ) -> Answer:
        seen: list[Any] = []
        chunks = self.moto(environ, lambda status, headers, *_: seen.extend((status, headers)))
        try:
            body = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close:
                close()
        status, headers = seen
        content_type = next((value for name, value in headers if name.lower() == "content-type"), "text/xml")
        return Answer(int(status.split()[0]), content_type, body)


def _send(start_response: Callable[..., Any], answer: Answer) -> list[bytes]:
    headers = [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.body)))]
    start_response(f"{answer.status} {'OK' if answer.status < 400 else 'Error'}", headers)
    return [answer.body]
