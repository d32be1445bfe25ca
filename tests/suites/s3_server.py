"""An S3 server on loopback, with one bucket, until it is killed.

    python s3_server.py BUCKET [PORT]

Prints its port. What it holds is gone with it. A port of its own choice is below those that the
system hands out, so that no other program is given it before the next server takes it again.
"""

import random
import socket
import sys
import threading
from contextlib import suppress

import boto3
from moto.server import ThreadedMotoServer


def main() -> None:
    """Serve."""
    port = int(sys.argv[2]) if len(sys.argv) > 2 else free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket=sys.argv[1])
    print(port, flush=True)
    threading.Event().wait()


def free_port() -> int:
    """Return a port that nothing listens at."""
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    sys.exit("found no free port")


if __name__ == "__main__":
    main()
