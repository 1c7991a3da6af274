"""The tutorial's camera script, as far as its network goes: to each client that connects it sends pickled dictionaries with
a JPEG in base64, one after the other and without framing, until the client leaves.

usage: tutorial-camera.py JPEG...

The first line of the standard output is the port. The pictures are sent in turn.
"""

import base64
import pathlib
import pickle
import socket
import sys
import threading
import time

PICTURES = [pathlib.Path(path).read_bytes() for path in sys.argv[1:]]


def serve(client):
    number = 0
    try:
        while True:
            text = base64.b64encode(PICTURES[number % len(PICTURES)]).decode("ascii")
            client.sendall(pickle.dumps({"leftimg": text}, protocol=4))
            number += 1
            time.sleep(0.03)
    except OSError:
        client.close()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
