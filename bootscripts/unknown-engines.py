"""Name the engines of this machine that run but are unknown to the hub, which never takes them back by itself.

    unknown-engines.py ENGINE_FILE IDENT_FOLDER GRACE PAUSE

Prints their numbers, one a line. Each running engine has a file ipengine@K.ident, written at its start, in
IDENT_FOLDER; engines younger than GRACE seconds are left alone, and what is unknown is asked again after PAUSE seconds
before it is named. A hub that does not answer says nothing about engines: then nothing is named.
Speaks the one message it needs by itself: importing ipyparallel's own session costs four times the CPU time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ANSWER_S = 5.0
DELIMITER = b"<IDS|MSG>"


def running(folder: Path, grace: float, now: float) -> dict[str, str]:
    """The engines that started more than ``grace`` seconds before ``now`` (epoch seconds), number → ident."""
    found = {}
    for path in folder.glob("ipengine@*.ident"):
        number = path.stem.partition("@")[2]
        try:
            if number.isdecimal() and now - path.stat().st_mtime > grace:
                found[number] = path.read_text().strip()
        except FileNotFoundError:  # it stopped just now
            continue
    return found


def known(info: dict[str, Any]) -> set[str] | None:
    """The idents of all engines that the hub knows; None when it does not answer, or not as one of ours would."""
    import zmq

    key = info["key"].encode()
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "connection_request", "session": uuid.uuid4().hex}
    header |= {"username": "", "date": datetime.now(UTC).isoformat(), "version": "5.3"}
    parts = [json.dumps(part).encode() for part in (header, {}, {}, {})]
    with zmq.Context() as context, context.socket(zmq.DEALER) as hub:
        hub.linger = 0
        if info["curve_serverkey"]:
            hub.curve_publickey, hub.curve_secretkey = zmq.curve_keypair()
            hub.curve_serverkey = info["curve_serverkey"].encode()
        hub.connect(f"{info['interface']}:{info['registration']}")
        hub.send_multipart([DELIMITER, signature(key, parts), *parts])
        if not hub.poll(ANSWER_S * 1000):
            return None
        frames = hub.recv_multipart()
    signed, *answer = frames[frames.index(DELIMITER) + 1 :]
    if not hmac.compare_digest(signed, signature(key, answer[:4])):
        return None
    content = json.loads(answer[3])
    return set(content["engines"].values()) if content.get("status") == "ok" else None


def signature(key: bytes, parts: list[bytes]) -> bytes:
    """The signature of a message; empty without a key, as under CURVE."""
    return hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest().encode() if key else b""


def unknown(engine_file: Path, folder: Path, grace: float, pause: float) -> list[str]:
    """The numbers of the engines that were running and unknown on two looks."""
    suspects = running(folder, grace, time.time())
    if not suspects:
        return []
    info = json.loads(engine_file.read_text())
    for wait in (0.0, pause):
        time.sleep(wait)
        idents = known(info)
        if idents is None:
            return []
        still = running(folder, grace, time.time())
        suspects = {k: ident for k, ident in suspects.items() if ident not in idents and still.get(k) == ident}
        if not suspects:
            return []
    return sorted(suspects, key=int)


if __name__ == "__main__":
    for engine in unknown(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])):
        print(engine)
