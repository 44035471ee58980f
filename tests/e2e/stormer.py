#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
#
# stormer.py - the mail of a bounce storm, from thousands of addresses of this machine
#
#   stormer.py send PORT SENDER FIRST N        N mails of alice, logged in, from SENDER to user@destK.test, K from FIRST on
#   stormer.py storm PORT VICTIM [options]     forged bounces, real ones, and normal mail, mixed by dice with a seed; a
#                                              VICTIM of "@DOMAIN" gets the forged ones under made up local parts
#      --forged N --clients M    N forged bounces from M addresses
#      --real R --odd O          R real ones from hosts of destK.test, of which O from hosts of another name
#      --normal P                P mails that are no bounces, half of them to others
#      --log FILE                a line for each: KIND RCPT-AT CODE NUMBER ANSWERED-AT, in ms of the boot clock
#      --jobs J --seed X
#   stormer.py again PORT VICTIM --log FILE    the real ones of that log that were put off come again, as real-again, odd-again

import argparse
import asyncio
import base64
import random
import socket
import time

FORGED_NET, REAL_NET, NORMAL_NET = 0xC6120000, 0xC6130000, 0xC6138000  # 198.18.0.0, 198.19.0.0, 198.19.128.0


def now_ms():
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)


def address(net, i):
    return socket.inet_ntoa((net + 257 + i).to_bytes(4, "big"))


async def command(r, w, line):
    w.write(line.encode() + b"\r\n")
    return await reply(r)


async def reply(r):
    while True:
        line = await r.readline()
        if not line:
            return 0
        if len(line) > 3 and line[3:4] != b"-":
            return int(line[:3]) if line[:3].isdigit() else 0


async def session(port, source, helo, sender, recipients, login=False, body=True):
    """The last code, and when RCPT was sent and answered."""
    s = socket.socket()
    s.setblocking(False)
    s.bind((source, 0))
    sent, code, told = 0, 0, 0
    try:
        await asyncio.get_running_loop().sock_connect(s, ("127.0.0.1", port))
        r, w = await asyncio.open_connection(sock=s)
    except OSError:
        s.close()
        return 0, now_ms(), now_ms()
    try:
        code = await asyncio.wait_for(talk(r, w, helo, sender, login), 120)
        for to in recipients:
            sent = now_ms()
            code = await asyncio.wait_for(command(r, w, "RCPT TO:<%s>" % to), 120) if code == 250 else code
            told = now_ms()
        if code == 250 and body:
            await asyncio.wait_for(command(r, w, "DATA"), 120)
            code = await asyncio.wait_for(command(r, w, "Subject: test\r\n\r\ntext\r\n."), 120)
        await asyncio.wait_for(command(r, w, "QUIT"), 120)
    except (OSError, asyncio.TimeoutError):
        code = 0
    w.close()
    return code, sent, told


async def talk(r, w, helo, sender, login):
    await reply(r)
    await command(r, w, "EHLO " + helo)
    if login:
        await command(r, w, "AUTH PLAIN " + base64.b64encode(b"\0alice\0secret").decode())
    return await command(r, w, "MAIL FROM:<%s>" % sender)


async def send(o):
    for k in range(o.first, o.first + o.n):
        code, _, _ = await session(o.port, "127.0.0.1", "here.test", o.sender, ["user@dest%d.test" % k], login=True)
        if code != 250:
            raise SystemExit("mail %d: %d" % (k, code))


async def one(o, log, kind, k):
    if kind == "forged":
        i = k % o.clients
        sender = "MAILER-DAEMON@flood%d.test" % i if k % 10 == 0 else ""
        to = "x%d%s" % (k, o.victim) if o.victim.startswith("@") else o.victim
        code, at, told = await session(o.port, address(FORGED_NET, i), "mx.flood%d.test" % i, sender, [to], body=False)
    elif kind == "normal":
        to = o.victim if k % 2 == 0 else "bob%d@example.test" % k
        code, at, told = await session(o.port, address(NORMAL_NET, k), "mx.remote.test", "carol%d@remote.test" % k, [to])
    else:
        helo = "out%d.provider.test" % k if kind.startswith("odd") else "mail.dest%d.test" % k
        code, at, told = await session(o.port, address(REAL_NET, k), helo, "", [o.victim])
    log.write("%s %d %d %d %d\n" % (kind, at, code, k, told))


async def storm(o):
    dice = random.Random(o.seed)
    plan = [("forged", k) for k in range(o.forged)]
    rest = [("odd" if k < o.odd else "real", k) for k in range(o.real)] + [("normal", k) for k in range(o.normal)]
    dice.shuffle(plan)
    for item in rest:  # spread over all of it but the beginning
        plan.insert(dice.randrange(min(60, len(plan)), len(plan) + 1), item)
    jobs, waiting = asyncio.Semaphore(o.jobs), []

    with open(o.log, "w", buffering=1) as log:
        async def run(kind, k):
            try:
                await one(o, log, kind, k)
            finally:
                jobs.release()

        for kind, k in plan:
            await jobs.acquire()
            waiting = [t for t in waiting if not t.done()] if len(waiting) > 1000 else waiting
            waiting.append(asyncio.create_task(run(kind, k)))
        await asyncio.gather(*waiting)


async def again(o):
    with open(o.log) as log:
        lines = [line.split() for line in log]
    with open(o.log, "a", buffering=1) as log:
        for kind, _, code, k, _ in lines:
            if kind in ("real", "odd") and code.startswith("4"):
                await one(o, log, kind + "-again", int(k))


def main():
    p = argparse.ArgumentParser()
    sub = p.add_subparsers(dest="what", required=True)
    s = sub.add_parser("send")
    s.add_argument("port", type=int)
    s.add_argument("sender")
    s.add_argument("first", type=int)
    s.add_argument("n", type=int)
    t = sub.add_parser("storm")
    t.add_argument("port", type=int)
    t.add_argument("victim")
    for name in ("forged", "clients", "real", "odd", "normal", "seed"):
        t.add_argument("--" + name, type=int, default=1 if name == "clients" else 0)
    t.add_argument("--jobs", type=int, default=24)
    t.add_argument("--log", required=True)
    t = sub.add_parser("again")
    t.add_argument("port", type=int)
    t.add_argument("victim")
    t.add_argument("--log", required=True)
    o = p.parse_args()
    asyncio.run({"send": send, "storm": storm, "again": again}[o.what](o))


main()
