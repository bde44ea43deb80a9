"""A load of new TLS connections: handshakes.py PORT HOST PATH SECONDS. None is resumed."""

import os
import socket
import sys
import time

from world import BODY, trusting

PROCESSES = 4


def once(context, port, host, ask):
    with socket.create_connection(("127.0.0.1", port), 5) as tcp:
        with context.wrap_socket(tcp, server_hostname=host) as tls:
            if tls.version() != "TLSv1.3" or tls.session_reused:
                raise OSError(f"{tls.version()}, resumed: {tls.session_reused}")
            tls.sendall(ask)
            answer = b""
            while part := tls.recv(16384):
                answer += part
    if not answer.startswith(b"HTTP/1.1 200") or len(answer) < BODY:
        raise OSError(repr(answer[:80]))


def main():
    port, host, path, seconds = int(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])
    ask = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: handshakes\r\nConnection: close\r\n\r\n".encode()
    until = time.monotonic() + seconds
    reader, writer = os.pipe()
    for _ in range(PROCESSES):
        if os.fork() == 0:
            context = trusting()
            context.set_alpn_protocols(["http/1.1"])
            good = bad = 0
            why = ""
            while time.monotonic() < until:
                try:
                    once(context, port, host, ask)
                    good += 1
                except OSError as error:
                    bad += 1
                    why = str(error)[:100].replace("\n", " ")
            os.write(writer, f"{good} {bad} {why}\n".encode())
            os._exit(0)
    os.close(writer)
    for _ in range(PROCESSES):
        os.wait()
    lines = [line.split(" ", 2) for line in os.fdopen(reader).read().splitlines()]
    print(f"{sum(int(line[0]) for line in lines)} good, {sum(int(line[1]) for line in lines)} bad", *[line[2] for line in lines])


main()
