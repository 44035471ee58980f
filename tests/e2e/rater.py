#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
#
# rater.py - clients that rater.sh needs and a shell can't be
#
#   rater.py say ADDRESS [PAUSE]   send standard input (line by line, PAUSE seconds apart), print all that comes until the end
#   rater.py ask ADDRESS N         N questions, a connection each; print the median, the 90th and the worst in milliseconds
#   rater.py noise ADDRESS N SEED  N connections with gibberish; most leave without reading
#   rater.py burst ADDRESS N       one connection asks N times without reading, then reads all; print how many answers came
#
# ADDRESS is a port on this host, HOST:PORT, or the path of a socket.

import random
import socket
import sys
import threading
import time


def connect(address):
    if "/" in address:
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(address)
    else:
        host, _, port = address.rpartition(":")
        s = socket.create_connection((host or "127.0.0.1", int(port)))
    s.settimeout(20)
    return s


def read_all(s):
    data = b""
    while True:
        try:
            more = s.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


def say(address, pause="0"):
    s = connect(address)
    text = sys.stdin.buffer.read()
    for piece in text.splitlines(keepends=True) if float(pause) > 0 else [text]:
        try:
            s.sendall(piece)
        except OSError:
            break
        time.sleep(float(pause))
    sys.stdout.buffer.write(read_all(s))


def ask(address, n):
    took = []
    for i in range(int(n)):
        begin = time.monotonic()
        s = connect(address)
        s.sendall(b"ip 10.0.0.%d\n" % (i % 250))
        if not read_all(s).startswith((b"0 ", b"1 ")):
            sys.exit("no answer")
        s.close()
        took.append((time.monotonic() - begin) * 1000)
        time.sleep(0.01)
    took.sort()
    print("%d %d %d" % (took[len(took) // 2], took[len(took) * 9 // 10], took[-1]))


def gibberish(dice):
    lines = [b"ip", b"ip ", b"+ip 1.2.3.4", b"?", b"+", b"user \xff\x00\xfe", b"var ut_jobname x", b"\xff\xfb\x01help", b"mem", b"x " * 400]
    kind = dice.randrange(4)
    if kind == 0:
        return dice.randbytes(dice.randrange(1, 3000))
    if kind == 1:
        return b"\n".join(dice.choice(lines) for _ in range(dice.randrange(1, 50)))
    if kind == 2:
        return b"+" * dice.randrange(1, 5000)
    return dice.choice(lines) + dice.choice([b"\n", b"\r\n", b"\r", b"", b"\0\n"])


def noise(address, n, seed):
    dice = random.Random(int(seed))
    for _ in range(int(n)):
        s = connect(address)
        try:
            s.sendall(gibberish(dice))
            if dice.randrange(8) == 0:
                s.shutdown(socket.SHUT_WR)
                read_all(s)
        except OSError:
            pass
        s.close()


def burst(address, n):
    s = connect(address)
    writer = threading.Thread(target=s.sendall, args=(b"+ip 10.0.0.1\n" * int(n),))
    writer.start()
    time.sleep(1)
    answers = 0
    while answers < int(n):
        data = s.recv(65536)
        if not data:
            break
        answers += data.count(b"\r\n")
    writer.join()
    print(answers)


{"say": say, "ask": ask, "noise": noise, "burst": burst}[sys.argv[1]](*sys.argv[2:])
