"""An S3 server on loopback, with one bucket, until it is killed.

    python s3_server.py BUCKET [PORT]

Prints its port. What it holds is gone with it.
"""

import sys
import threading

import boto3
from moto.server import ThreadedMotoServer


def main() -> None:
    """Serve."""
    server = ThreadedMotoServer(
        ip_address="127.0.0.1", port=int(sys.argv[2]) if len(sys.argv) > 2 else 0, verbose=False
    )
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
    client.create_bucket(Bucket=sys.argv[1])
    print(port, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
