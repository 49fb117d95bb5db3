"""The operations of pyinfra_deploy.py."""

from pyinfra import host
from pyinfra.operations import files, server

files.put(name="payload", src=host.data.payload, dest="payload.tar", mode="600")
server.shell(name="start", commands=[host.data.start])
